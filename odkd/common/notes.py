"""Notes of a cache: values that can be made anew, each kept in a JSON file with its digest.

A note that does not match its digest is not believed: its value is made anew, with a warning. So is one that an earlier
odkd wrote without a digest, without a word.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from odkd.common.files import json_digest, write_atomic
from odkd.common.reading import open_file, read_bytes

T = TypeVar("T")
NOTES = ("digests", "videos", "images")  # folders of a cache that hold notes alone
logger = logging.getLogger(__name__)

_HEAD, _MIDDLE, _END = b'{"sha256": "', b'",\n"note": ', b"\n}\n"
_START = len(_HEAD) + 64 + len(_MIDDLE)
_HEX = re.compile(rb"[0-9a-f]{64}")


def remembered(note: Path, make: Callable[[], T]) -> T:
    """Return the value in a note; without one, or if it is damaged, call `make` and write it.

    Args:
        note: the file; its name must contain everything that the value depends on.
        make: returns the value, which JSON can hold.
    """
    known = read_note(note)
    if known is None:
        known = [make()]
        write_note(note, known[0])
    value: T = known[0]
    return value


def write_note(note: Path, value: Any) -> None:
    """Write a value and its digest, atomically."""
    body = json.dumps(value, separators=(",", ":")).encode()
    write_atomic(note, _HEAD + hashlib.sha256(body).hexdigest().encode() + _MIDDLE + body + _END)


def read_note(note: Path, *, trusts_old: bool = False) -> list[Any] | None:
    """Return [value]; None where there is no sound note, which a damaged one says in a warning.

    Args:
        trusts_old: the value of a note without a digest counts, too, because it is too much work to make it anew.
    """
    try:
        content = read_bytes(note)
    except (FileNotFoundError, NotADirectoryError):
        return None
    body = content[_START : -len(_END)]
    digest = hashlib.sha256(body).hexdigest().encode()
    if content == _HEAD + digest + _MIDDLE + body + _END:
        return [json.loads(body)]
    if _is_old(content):
        if trusts_old:
            return [json.loads(content)]
        logger.debug("%s was written without a digest; its value is made anew", note)
    else:
        logger.warning("%s is damaged; its value is made anew", note)
    return None


def file_digest(path: Path, cache: Path) -> str:
    """Return the sha256 (hex) of a file's bytes, cached in `cache` by path, size and modification time."""

    def digest() -> str:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    status = path.stat()
    name = json_digest([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return remembered(cache / "digests" / name, digest)


def folder_digest(paths: Iterable[Path], root: Path, cache: Path) -> str:
    """Return the sha256 (hex) of names and contents of files below `root`, cached in `cache` like `file_digest`."""

    def digest() -> str:
        whole = hashlib.sha256()
        for path in files:
            whole.update(str(path.relative_to(root)).encode() + b"\0")
            with open_file(path) as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()

    files = sorted(paths)
    versions = [[str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return remembered(cache / "digests" / json_digest([str(root.resolve()), versions]), digest)


def _is_old(content: bytes) -> bool:
    """True for what an earlier odkd wrote: the digits of a digest, or plain JSON."""
    if _HEX.fullmatch(content):
        return True
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, dict) or not {"sha256", "note"} & value.keys()
