"""The file run.json of a run folder: what identifies the run, its status, and digests of itself and of other files.

Runs of earlier releases have no digests; they are read as they are.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from odkd.common.reading import DamagedFileError, brief, check_form, open_file, parse_json, shown
from odkd.runs.records import (
    DIGEST,
    MOST_OF_SWEEP,
    RUN,
    STATUS,
    Scores,
    read_content,
    read_form,
    without_digest,
    write_record_of,
)

logger = logging.getLogger(__name__)
FILES = "files"  # entry: digest of each file by its name in the folder
VERIFIED = (  # files of a finished run that are read back
    *("config.yaml", "overrides.txt", "metrics.jsonl", "timing.jsonl", "summary.json", "confusion.npz"),
    *("student.safetensors", "students/*.safetensors", "pseudo_labels.json", "splits/*.txt"),
)


class RunFile:
    """run.json of one run; to be changed only by the process that holds the run's lock.

    Args:
        folder: the run folder.
        description: the content except status and times: key, name, stage, params, tags.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self._folder = folder
        self._description = description

    def status(self, *, if_damaged: str | None = None) -> str | None:
        """Return the status; None if the file does not exist yet.

        Args:
            if_damaged: returned for a damaged file; None = raise.

        Raises:
            ValueError: the file is damaged, or belongs to another run; a folder's name contains only the first digits
                of the key.
        """
        try:
            record = read_record(self._folder)
        except FileNotFoundError:
            return None
        except ValueError:
            if if_damaged is None:
                raise
            return if_damaged
        if record.get("key") != self._description.get("key"):
            raise ValueError(f"{self._folder} is another run, whose key begins with the same digits; set run.name=...")
        status: str = record["status"]
        return status

    def set_status(
        self, status: str, tags: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        """Write the file with a new status, with these tags beside those of the description, and digests of `files`."""
        is_new = not (self._folder / "run.json").is_file()
        created = datetime.now(UTC).isoformat() if is_new else read_record(self._folder, {"created": str})["created"]
        record = {**self._description, "status": status, "created": created, "updated": time.time()}
        record["tags"] = {**self._description.get("tags", {}), **(tags or {})}
        write_record(self._folder, record | ({FILES: dict(files)} if files else {}))

    def adopt(self, sweep: Mapping[str, str]) -> None:
        """Note the sweep (key and folder) of a run that belongs to none."""
        record = read_record(self._folder, RUN)
        if record.get("sweep") is None:
            record["tags"]["odkd.sweep_key"] = sweep["key"]
            write_record(self._folder, record | {"sweep": sweep})

    def add_known(self, tags: Sequence[str], params: Sequence[str]) -> None:
        """Add these tags and params of the description where the file does not have them."""
        record = read_record(self._folder, RUN)
        added = record | {
            "tags": _only(self._description["tags"], tags) | record["tags"],
            "params": _only(self._description["params"], params) | record["params"],
        }
        if added != record:
            write_record(self._folder, added)


def read_record(folder: Path, form: Mapping[str, Any] = MappingProxyType(STATUS)) -> dict[str, Any]:
    """Return the content of a run folder's run.json.

    Args:
        form: what it must have, as for `check_form`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    path = folder / "run.json"
    content = read_content(path, MOST_OF_SWEEP)
    try:
        record: dict[str, Any] = parse_json(content, {"key": str, **form}, what="it")
        plain = without_digest(record)
        if "status" not in plain:
            raise ValueError("it has no status")
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(
            f"{shown(path)} is damaged; run.restart=true starts this run over ({brief(error)})"
        ) from error
    if DIGEST not in record:
        logger.debug("%s is of an earlier odkd, without digests; the run is not verified", path)
    return plain


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the content of run.json, with its digest."""
    write_record_of(folder / "run.json", record)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the sha256 (hex) of each file of a run that is read back, by its name in the folder."""
    paths = sorted(path for pattern in VERIFIED for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): _digest(path) for path in paths}


def verify(folder: Path, names: Iterable[str], record: Mapping[str, Any] | None = None) -> None:
    """Check files of a finished run against the digests in its run.json, as far as it has them.

    Args:
        record: content of run.json; by default it is read.

    Raises:
        ValueError: a file was changed since the run finished, or is missing.
    """
    if record is None:
        record = read_record(folder) if (folder / "run.json").is_file() else {}
    known = record.get(FILES, {})
    check_form(known, dict[str, str], f"{FILES} of {shown(folder / 'run.json')}")
    for name in names:
        path = folder / name
        if name in known and not path.is_file():
            raise ValueError(f"{path} is missing, which the finished run had; run.restart=true computes it again")
        if name in known and _digest(path) != known[name]:
            raise ValueError(
                f"{path} was changed since the run finished (its digest is not that in run.json); "
                "restore it, or compute it again with run.restart=true"
            )


def read_summary(folder: Path) -> dict[str, float | None]:
    """Return the final numbers of a finished run.

    Raises:
        ValueError: the file was changed since the run finished.
    """
    verify(folder, ["summary.json"])
    return read_form(folder, "summary.json", Scores)


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _only(known: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: known[name] for name in names if name in known}
