"""Files that are whole or not there: atomic writes, and digests that are computed once a file version."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes | memoryview, *, durable: bool = True) -> None:
    """Write under a temporary name of our own, flush to the disk, then rename: readers see all or nothing.

    Not `durable`, it may be gone after a power cut (but never cut off for readers while the machine is up).

    Raises:
        OSError: as the system gives it (a full disk, say); nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of readable JSON."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def cut_torn_line(path: Path) -> None:
    """Drop the last line of a text file if it was cut off, without its newline."""
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n") and content:
        write_atomic(path, content[: content.rfind(b"\n") + 1])


def as_written(path: Path) -> Path:
    """Absolute and without "..", but with its links: a folder of runs may be one to another disk."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def json_digest(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON: the same for equal values, whatever their key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path, cache: Path) -> str:
    """sha256 (hex) of a file's bytes, kept under `cache` by path, size and modification time."""
    status = path.stat()
    note = cache / "digests" / json_digest([str(path.resolve()), status.st_size, status.st_mtime_ns])
    if note.is_file():
        return note.read_text()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_atomic(note, digest.encode())
    return digest


def folder_digest(paths: Iterable[Path], root: Path, cache: Path) -> str:
    """sha256 (hex) over names and contents of files below `root`, kept under `cache` like `file_digest`."""
    files = sorted(paths)
    versions = [[str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    note = cache / "digests" / json_digest([str(root.resolve()), versions])
    if note.is_file():
        return note.read_text()
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(root)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    write_atomic(note, digest.hexdigest().encode())
    return digest.hexdigest()


def create_exclusive(path: Path, content: bytes, *, durable: bool = True) -> bool:
    """Write a file, whole, that is not there yet; False if another process, on any host, was first."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    write_atomic(temporary, content, durable=durable)
    try:
        os.link(temporary, path)  # unlike O_EXCL it shows whole files only, and unlike rename it replaces none
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def sealed(record: Any) -> bytes:
    """A record as readable JSON with its own sha256, so that any changed byte is found."""
    return (json.dumps({"record": record, "sha256": json_digest(record)}, indent=1) + "\n").encode()


def unseal(content: bytes) -> Any:
    """The record that `sealed` wrote.

    Raises:
        ValueError: not one byte for byte.
    """
    try:
        record = json.loads(content)["record"]
    except (ValueError, KeyError, TypeError, RecursionError):
        record = None
    if sealed(record) != content:
        raise ValueError("the record does not match its digest")
    return record
