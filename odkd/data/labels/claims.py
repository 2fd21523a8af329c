"""Claims of processes on the shards they label: one small file per claim, on a disk that several machines may share.

A claim is a file that only one process can create. Its owner touches it every few seconds. A claim expires when its
owner is dead: at once where that can be seen (same machine: the process is gone), otherwise when it was not touched for
a minute by the clock of the disk. Locks of the operating system would be simpler, but not every shared file system has
them, and a lock held by a machine that crashed can last for ever.

Taking over a dead claim can in the worst case (two processes at the same instant) give a shard two owners. That
costs time, never labels: see `FrameArray.write`.
"""

import contextlib
import json
import os
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from odkd.common.files import create_exclusive
from odkd.common.processes import started, this_process
from odkd.common.reading import read_json
from odkd.common.temporary import temporary_for

TOUCH_SECONDS = 5.0
MOST_CLAIM = 2**16  # bytes
STALE_SECONDS = 60.0  # without a touch, on another machine


class Claims:
    """The claims of this process; a context manager that touches them and releases the remaining ones at its end."""

    def __init__(self) -> None:
        self._owner = {**this_process(), "token": uuid.uuid4().hex}
        self._held: set[Path] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._touch, name="odkd-claims", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        for path in list(self._held):
            self.release(path)

    def take(self, path: Path) -> bool:
        """Create the claim `path`, or take it over from a dead owner; return False if a living process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self._owner).encode()
        is_taken = create_exclusive(path, content, durable=False)
        if not is_taken and _remove_if_dead(path):
            is_taken = create_exclusive(path, content, durable=False)
        if is_taken:
            with self._lock:
                self._held.add(path)
        return is_taken

    def release(self, path: Path) -> None:
        """Release a claim, unless another process has taken it over in the meantime."""
        with self._lock:
            self._held.discard(path)
        with contextlib.suppress(OSError):
            if _read(path).get("token") == self._owner["token"]:
                path.unlink()

    def _touch(self) -> None:
        while not self._closing.wait(TOUCH_SECONDS):
            with self._lock:
                held = list(self._held)
            for path in held:
                with contextlib.suppress(OSError):
                    os.utime(path)


def owner_of(path: Path) -> str | None:
    """Return "HOST, process PID" for a claim whose owner is alive; None for a dead claim or no claim."""
    try:
        owner = _read(path)
        return None if _is_dead(path, owner) else f"{owner.get('host')}, process {owner.get('pid')}"
    except OSError:
        return None


def remove_dead_claims(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder of claims."""
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError):
            _remove_if_dead(path)


def _remove_if_dead(path: Path) -> bool:
    """Rename a dead claim and delete it; return True if the claim can be created now."""
    try:
        owner = _read(path)
        if not _is_dead(path, owner):
            return False
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.dead")
        path.rename(aside)  # of several processes at this point, only one succeeds
    except FileNotFoundError:
        return True
    if _read(aside).get("token") != owner.get("token"):  # another process took it over first: restore its claim
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return True


def _is_dead(path: Path, owner: dict[str, Any]) -> bool:
    here = this_process()
    if all(owner.get(key) == here[key] for key in ("host", "boot", "namespace")):
        return started(owner.get("pid")) != owner.get("started")
    touched = path.stat().st_mtime
    # In the future, too: the clock was put back since, and an owner that lives will touch it by the new one.
    return abs(_now_of_disk(path.parent) - touched) > STALE_SECONDS


def _read(path: Path) -> dict[str, Any]:
    """Return the owner of a claim; empty if the file is no valid claim."""
    try:
        owner: dict[str, Any] = read_json(path, most=MOST_CLAIM)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _now_of_disk(folder: Path) -> float:
    """Return the time of the file server, because the clocks of machines differ."""
    probe = temporary_for(folder / "now")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
