"""The file run.json of a run folder: what identifies the run, and its status."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odkd.common.files import write_json
from odkd.runs.records import RUN, STATUS, read_record


class RunFile:
    """run.json of one run; to be changed only by the process that holds the run's lock.

    Args:
        folder: the run folder.
        description: the content except status and times: key, name, stage, params, tags.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self._path = folder / "run.json"
        self._description = description

    def status(self) -> str | None:
        """Return the status; None if the file does not exist yet.

        Raises:
            ValueError: the file belongs to another run; a folder's name contains only the first digits of the key.
        """
        if not self._path.is_file():
            return None
        record = read_record(self._path.parent, self._path.name, STATUS)
        if record.get("key") != self._description.get("key"):
            folder = self._path.parent
            raise ValueError(f"{folder} is another run, whose key begins with the same digits; set run.name=...")
        status: str = record["status"]
        return status

    def set_status(self, status: str, tags: Mapping[str, str] | None = None) -> None:
        """Write the file with a new status, and with these tags beside those of the description."""
        is_new = not self._path.is_file()
        known = {} if is_new else read_record(self._path.parent, self._path.name, {"created": str})
        created = datetime.now(UTC).isoformat() if is_new else known["created"]
        record = {**self._description, "status": status, "created": created, "updated": time.time()}
        write_json(self._path, record | {"tags": {**self._description.get("tags", {}), **(tags or {})}})

    def adopt(self, sweep: Mapping[str, str]) -> None:
        """Note the sweep (key and folder) of a run that belongs to none."""
        record = read_record(self._path.parent, self._path.name, RUN)
        if record.get("sweep") is None:
            record["tags"]["odkd.sweep_key"] = sweep["key"]
            write_json(self._path, record | {"sweep": sweep})

    def add_known(self, tags: Sequence[str], params: Sequence[str]) -> None:
        """Add these tags and params of the description where the file does not have them."""
        record = read_record(self._path.parent, self._path.name, RUN)
        added = record | {
            "tags": _only(self._description["tags"], tags) | record["tags"],
            "params": _only(self._description["params"], params) | record["params"],
        }
        if added != record:
            write_json(self._path, added)


def _only(known: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: known[name] for name in names if name in known}
