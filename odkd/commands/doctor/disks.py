"""The disks where outputs and caches are: room, and whether locks, links and renames work there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odkd.commands.doctor.findings import Finding, Section
from odkd.common.reading import brief

LITTLE, TOO_LITTLE = 5e9, 1e8  # bytes; the index and frames of an hour of video take more than LITTLE
NEEDED = ("outputs",)  # that a run cannot do without; labels and caches may be shared, and read-only
LOCK_ADVICE = "choose a local disk: paths.outputs=, paths.cache=, paths.labels="


@dataclass(frozen=True)
class Place:
    """A folder that a run uses.

    Args:
        names: of the settings below `paths` that lie there.
        folder: the nearest one that exists.
    """

    names: tuple[str, ...]
    folder: Path


def places_of(paths: Mapping[str, str]) -> list[Place]:
    """Return the existing folders in which these paths lie, each once.

    Args:
        paths: folders by name; they need not exist yet.
    """
    found: dict[Path, list[str]] = {}
    for name, path in paths.items():
        absolute = Path(path).absolute()
        folder = next(there for there in (absolute, *absolute.parents) if there.is_dir())
        found.setdefault(folder, []).append(name)
    return [Place(tuple(names), folder) for folder, names in found.items()]


def check_disks(paths: Mapping[str, str]) -> Section:
    """Look at each place: how much is free, of what kind it is, and what works there."""
    findings, facts = list[Finding](), dict[str, Any]()
    for name, path in paths.items():
        there = next(one for one in (Path(path), *Path(path).absolute().parents) if one.exists())
        if not there.is_dir():
            advice = f"delete it, or choose another place with paths.{name}="
            findings.append(Finding("broken", f"{name}: {there} is no folder", advice))
    for place in places_of(paths):
        name = ", ".join(place.names)
        free, total, kind = room_of(place.folder)
        facts[name] = {"folder": str(place.folder), "free_bytes": free, "total_bytes": total, "kind": kind}
        where = f"{name} ({place.folder}, {kind}): {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        findings.append(judged_room(where, free))
        if _is_without_files(place.folder):
            findings.append(Finding("broken", f"{name}: the disk has no room for another file (inodes)"))
        findings += try_place(place)
    return Section(findings, facts)


def judged_room(where: str, free: float) -> Finding:
    """Return whether the free bytes of a place are enough.

    >>> judged_room("outputs", 4e9).status, judged_room("outputs", 4e7).status
    ('warning', 'broken')
    """
    advice = "make room, or choose another disk with paths.outputs= or paths.cache="
    if free < TOO_LITTLE:
        return Finding("broken", f"{where}: full", advice)
    return Finding("warning", f"{where}: little", advice) if free < LITTLE else Finding("ok", where)


def room_of(folder: Path) -> tuple[int, int, str]:
    """Return the free and all bytes of a folder's disk, and the kind of its file system."""
    import psutil

    usage = shutil.disk_usage(folder)
    real = folder.resolve()
    mounted = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    nearest = max(mounted, key=lambda part: len(part.mountpoint), default=None)
    return usage.free, usage.total, nearest.fstype if nearest is not None else "unknown"


def _is_without_files(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    status = os.statvfs(folder)
    return status.f_files > 0 and status.f_favail == 0


def try_place(place: Place) -> list[Finding]:
    """Lock, link and rename files in a folder of its own there; return what does not work."""
    name = ", ".join(place.names)
    if not os.access(place.folder, os.W_OK):
        is_needed = set(NEEDED) & set(place.names)
        return [Finding("broken" if is_needed else "note", f"{name}: {place.folder} cannot be written to")]
    try:
        with tempfile.TemporaryDirectory(prefix=".odkd-doctor-", dir=place.folder) as folder:
            findings = [_try_locks(name, Path(folder)), _try_files(name, Path(folder))]
    except OSError as error:
        return [Finding("broken", f"{name}: no file can be written in {place.folder} ({brief(error)})")]
    failed = [finding for finding in findings if finding is not None]
    return failed or [Finding("ok", f"{name}: locks, links and renames work")]


def _try_locks(name: str, folder: Path) -> Finding | None:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / "lock", timeout=5):
            try:
                with FileLock(folder / "lock", timeout=0):
                    text = f"{name}: a lock is given to two at once there, so that two processes could write one run"
                    return Finding("broken", text, LOCK_ADVICE)
            except Timeout:
                return None
    except (OSError, NotImplementedError, Timeout) as error:
        return Finding("broken", f"{name}: files cannot be locked there ({brief(error)})", LOCK_ADVICE)


def _try_files(name: str, folder: Path) -> Finding | None:
    try:
        (folder / "a").write_bytes(b"a")
        with (folder / "a").open("rb") as file:
            os.fsync(file.fileno())
        os.link(folder / "a", folder / "b")
        (folder / "b").replace(folder / "a")
    except OSError as error:
        text = f"{name}: files cannot be linked and renamed there ({brief(error)}), which sharing labels needs"
        return Finding("broken", text, LOCK_ADVICE)
    return None
