"""Atomic writes, after which a file is complete or missing, and records that carry their digest."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from odkd.common.temporary import temporary_for


def write_atomic(path: Path, *contents: bytes | memoryview, durable: bool = True) -> None:
    """Write contents, one after the other, under a unique temporary name, flush to disk, then rename and flush that.

    Readers see the complete file or none.

    If not `durable`, the file may be lost in a power failure; until then readers never see an incomplete file.

    Raises:
        OSError: the file cannot be written (a full disk, for example); no temporary file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_for(path)
    try:
        _write(temporary, contents, durable=durable)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        flush_names(path.parent)


def _write(path: Path, contents: Iterable[bytes | memoryview], *, durable: bool) -> None:
    with path.open("wb") as file:
        file.writelines(contents)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def flush_names(folder: Path) -> None:
    """Return when the names in a folder are on the disk: without it, a power failure may undo a rename.

    Where the system cannot do so (Windows, some network file systems), the names get there in their time.

    Raises:
        OSError: the disk has failed.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with `write_atomic`."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def cut_torn_line(path: Path) -> None:
    """Remove the last line of a text file if it has no newline, because its writer was interrupted."""
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n") and content:
        write_atomic(path, content[: content.rfind(b"\n") + 1])


def as_written(path: Path) -> Path:
    """Return the absolute path without "..", but with its links: a folder of runs may be a link to another disk."""
    return Path(os.path.normpath(path.absolute()))  # resolve() would follow links


def is_own(folder: Path, path: Path) -> bool:
    """True if no part of a path below a folder is a link, so that the file is one of the folder's own."""
    parts = path.relative_to(folder).parts
    return not any(folder.joinpath(*parts[: end + 1]).is_symlink() for end in range(len(parts)))


def check_own(folder: Path, path: Path) -> None:
    """Check that what is written to a path below a folder, which may be somebody else's, stays in it.

    Raises:
        ValueError: a part of the path is a link.
    """
    if not is_own(folder, path):
        raise ValueError(f"{path} is a link, or lies behind one, and would lead elsewhere; delete the link")


def check_no_links(folder: Path) -> None:
    """Check that a folder that is about to be written to, and may be somebody else's, leads nowhere.

    Raises:
        ValueError: something in it, at any depth, is a link.
    """
    if (link := first_link(folder)) is not None:
        raise ValueError(f"{link} is a link, and would lead elsewhere; put what it leads to in its place")


def first_link(folder: Path) -> Path | None:
    """Return a link in a folder, at any depth; None if there is none, or no folder."""
    if not folder.is_dir():
        return None
    with os.scandir(folder) as entries:
        for entry in entries:
            inside = Path(entry.path) if entry.is_symlink() else None
            if entry.is_dir(follow_symlinks=False):
                inside = first_link(Path(entry.path))
            if inside is not None:
                return inside
    return None


def at_home(path: str | Path) -> Path:
    """Return a path in a command with the home folder in place of ~ or ~name at its start.

    Raises:
        ValueError: there is no such user.
    """
    found = os.path.expanduser(path)  # noqa: PTH111 - a Path has no ./ in front any more
    if str(found).startswith("~"):
        raise ValueError(f"{path}: there is no such user; a path that really begins with ~ is written ./~...")
    return Path(found)


def with_home(value: Any) -> Any:
    """Return plain values with the home folder in place of ~ or ~name at the start of each text that is a path.

    >>> with_home({"tilde": "~x", "paths": ["/a/~", 3]})
    {'tilde': '~x', 'paths': ['/a/~', 3]}
    """
    if isinstance(value, dict):
        return {key: with_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_home(item) for item in value]
    is_path = isinstance(value, str) and re.match(r"~[\w.-]*/|~$", value)
    return os.path.expanduser(value) if is_path else value  # noqa: PTH111 - an unknown user's ~ stays as it is


def json_digest(value: Any) -> str:
    """Return the sha256 (hex) of a value's canonical JSON: equal for equal values, in any order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def create_exclusive(path: Path, content: bytes, *, durable: bool = True) -> bool:
    """Create a complete file; return False if it exists, because another process (on any host) was first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_for(path)
    try:
        _write(temporary, [content], durable=durable)
        os.link(temporary, path)  # unlike O_EXCL it shows complete files only, and unlike rename it never replaces one
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    if durable:
        flush_names(path.parent)
    return True


def sealed(record: Any) -> bytes:
    """Return a record as indented JSON with its sha256, so that any changed byte is detected."""
    record = json.loads(json.dumps(record))  # numbers as keys become texts, which are in another order
    return (json.dumps({"record": record, "sha256": json_digest(record)}, indent=1) + "\n").encode()


def unseal(content: bytes) -> Any:
    """Return the record in the output of `sealed`.

    Raises:
        ValueError: a byte has changed.
    """
    try:
        record = json.loads(content)["record"]
    except (ValueError, KeyError, TypeError, RecursionError):
        record = None
    if sealed(record) != content:
        raise ValueError("the record does not match its digest")
    return record
