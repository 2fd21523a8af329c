"""Reading of files that somebody else may have written, or a fault may have damaged.

Only regular files are opened: a pipe would wait for ever, a device never ends. Sizes are checked before anything is
read. Whatever a file holds, the result has the asked form, or the error is one line: which file, what is wrong, what to
do.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_JSON = 2**27  # bytes; the index of a video of 10 hours has 40 MB
MOST_RECORD = 2**24  # bytes of a small record; 63 are a score of a class, so 5,000 classes with 20 scores have 6 MB
MOST_LINES = 2**30  # bytes of a file of lines
MOST_LINE = 2**24  # bytes of one of them, which is a small record
MOST_NUM_LINES = 2**21  # a video of 10 hours has 2**20 frames
NO_ZIP = (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError)  # what zipfile raises for damaged archives
MOST_TEXT = 2**26  # bytes
KINDS = (  # test of a file's mode -> what it is
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NoRegularFileError(OSError, ValueError):
    """An error for a path at which something lies that is no regular file."""


class DamagedFileError(ValueError):
    """An error for a file whose content is not what odkd writes, or expects, there."""


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading bytes; never wait for one that is something else.

    Raises:
        NoRegularFileError: it is a folder, a pipe, a socket or a device.
        OSError: there is none, or it cannot be read.
    """
    return io.BufferedReader(open_plain(path))


def open_plain(path: Path) -> io.FileIO:
    """Open a regular file without a buffer.

    Raises:
        NoRegularFileError: it is a folder, a pipe, a socket or a device.
        OSError: there is none, or it cannot be read.
    """
    _check_mode(path, path.stat().st_mode)  # before it is opened: opening a device may do something
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_mode(path, os.fstat(descriptor).st_mode)  # it may have been replaced in between
        return io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "no regular file")
        raise NoRegularFileError(f"{shown(path)} is {kind}; expected a file: rename or delete it")


def is_file(path: str | Path) -> bool:
    """True if a regular file is there; False also for a name that no file can have."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def read_bytes(path: Path, most: int = MOST_JSON) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        DamagedFileError: it has more.
        OSError: as `open_file`.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, most) + 1)
        if len(content) > size:  # it has grown, or its file system tells no sizes
            content += file.read(most + 1 - len(content))
    if len(content) > most:
        raise DamagedFileError(f"{shown(path)} has more than {most} bytes, too many for what it should hold")
    return content


def complete_lines(path: Path, skip: int = 0) -> Iterator[bytes]:
    """Yield the lines of a text file, with their ends, from byte `skip` on; never more than one is in memory.

    A last line without a newline is left out: it is still being written.

    Raises:
        DamagedFileError: the file, or a line, is too large, or there are too many lines.
        OSError: as `open_file`.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_LINES:
            raise DamagedFileError(f"{shown(path)} has more than {MOST_LINES} bytes, too many for what it should hold")
        file.seek(skip)
        num_lines = 0
        while (line := file.readline(MOST_LINE + 1)).endswith(b"\n"):
            num_lines += 1
            if num_lines > MOST_NUM_LINES:
                raise DamagedFileError(f"{shown(path)} has more than {MOST_NUM_LINES} lines, too many for its kind")
            yield line
        if len(line) > MOST_LINE:
            raise DamagedFileError(f"{shown(path)} has a line of more than {MOST_LINE} bytes, too long for its kind")


def check_unpacked(path: Path) -> None:
    """Check that a file which torch has saved is no archive that unpacks to more than it holds; torch compresses none.

    Raises:
        DamagedFileError: it does.
        OSError: as `open_file`.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        with contextlib.suppress(*NO_ZIP), zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > size:
                raise DamagedFileError(f"{shown(path)} is a compressed archive; expected one of torch.save")


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """Return a text; bytes that are not UTF-8 become question marks. Raises as `read_bytes`."""
    return read_bytes(path, most).decode(errors="replace").replace("\r\n", "\n")


def read_json(path: Path, kind: Any = Any, *, most: int = MOST_RECORD, advice: str = "") -> Any:
    """Return the value in a JSON file.

    Args:
        kind: its form: a type as in `check_setting`, or {key: type} for a record; "key?" for one that may be missing.
        most: bytes; a value may take 30 times as many in memory.
        advice: what to do about a damaged file.

    Raises:
        DamagedFileError: it is no JSON, or the value has another form.
        OSError: as `open_file`.
    """
    return parse_json(read_bytes(path, most), kind, what=shown(path), advice=advice)


def parse_json(content: bytes | str, kind: Any = Any, *, what: str, advice: str = "") -> Any:
    """Return the value in a JSON text, as `read_json` does; `what` names it in the message."""
    end = f"; {advice}" if advice else ""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{what} is damaged: it holds no JSON ({brief(error)}){end}") from error
    try:
        check_form(value, kind)
    except ValueError as error:
        raise DamagedFileError(f"{what} is damaged: {error}{end}") from error
    return value


def as_utf8(value: Any) -> Any:
    """Return a plain value whose texts are UTF-8: a question mark for half a character, as in some names of files.

    >>> as_utf8({"a\\ud800": ["b", 1, "\\udcff"]})
    {'a?': ['b', 1, '?']}
    """
    if isinstance(value, dict):
        return {as_utf8(key): as_utf8(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_utf8(item) for item in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def check_form(value: Any, kind: Any, name: str = "it") -> None:
    """Check that a plain value has a form, as for `read_json`.

    Raises:
        ValueError: it has another.

    >>> check_form({"status": 5}, {"status": str})
    Traceback (most recent call last):
    ValueError: status=5; expected text
    """
    if not isinstance(kind, Mapping):
        if kind is not Any:
            from odkd.common.settings import check_setting  # with pydantic, which `odkd --help` does without

            check_setting(name, value, kind)
        return
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_beginning(value)}; expected a record with {', '.join(kind)}")
    for key, inner in kind.items():
        plain = key.removesuffix("?")
        if plain in value:
            check_form(value[plain], inner, plain)
        elif plain == key:
            raise ValueError(f"{name} has no {key}")


def _beginning(value: Any) -> str:
    """Return the beginning of a value as JSON; the rest of a large one, which takes memory, is not written."""
    return brief("".join(itertools.islice(json.JSONEncoder().iterencode(value), 201)))


def brief(error: BaseException | str) -> str:
    """Return an error, or a text, on one line of at most 200 letters; the name of the error if it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def shown(path: Path) -> str:
    """Return a path for a message: in quotes if a line break or the like is in it.

    >>> print(shown(Path("a b")), shown(Path("a\\nb")))
    a b 'a\\nb'
    """
    return str(path) if str(path).isprintable() else repr(str(path))
