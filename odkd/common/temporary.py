"""Names of temporary files and folders, which say whose they are, so that those of killed processes can be removed.

A name is .NAME.MACHINE-PID-STARTED.RANDOM.tmp. On the machine that it names, it is left behind once its process is
gone; elsewhere, and without an owner (earlier releases), once it was not changed for an hour.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from odkd.common.processes import started, this_machine

UNCHANGED_SECONDS = 3600.0
_NAME = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\w+)\.[0-9a-f]{8}\.tmp")


def temporary_for(path: Path) -> Path:
    """Return a unique temporary path beside `path`."""
    pid = os.getpid()
    return path.with_name(f".{path.name[:100]}.{_machine()}-{pid}-{started(pid)}.{uuid.uuid4().hex[:8]}.tmp")


def is_left_behind(path: Path, *, unchanged_seconds: float = UNCHANGED_SECONDS) -> bool:
    """Return True if a temporary file or folder, or a claim set aside (*.dead), belongs to a process that is gone.

    Args:
        unchanged_seconds: age from which one counts that names no process of this machine.
    """
    found = _NAME.fullmatch(path.name)
    if found and found["machine"] == _machine():
        return started(int(found["pid"])) != found["started"]
    try:
        return time.time() - path.stat().st_mtime >= unchanged_seconds
    except FileNotFoundError:
        return False


def left_behind(
    folder: Path, *, recursive: bool = True, unchanged_seconds: float = UNCHANGED_SECONDS
) -> Iterator[Path]:
    """Yield what killed processes have left in a folder, and below it if `recursive`; see `is_left_behind`."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name.startswith(".") and entry.name.endswith((".tmp", ".dead")):
            if is_left_behind(path := Path(entry.path), unchanged_seconds=unchanged_seconds):
                yield path
        elif is_folder and recursive:
            yield from left_behind(Path(entry.path), unchanged_seconds=unchanged_seconds)


def remove_left_behind(folder: Path, *, recursive: bool = True, unchanged_seconds: float = UNCHANGED_SECONDS) -> None:
    """Remove what killed processes have left in a folder, as far as this user may; see `is_left_behind`."""
    for path in left_behind(folder, recursive=recursive, unchanged_seconds=unchanged_seconds):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as this user may; nothing if it is gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _machine() -> str:
    return hashlib.sha256(repr(sorted(this_machine().items())).encode()).hexdigest()[:8]
