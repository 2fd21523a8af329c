"""Which folders of a cache a run uses: a note in the cache for each run, so that pruning knows."""

from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from odkd.common.files import as_written, json_digest
from odkd.common.notes import read_note, write_note

FOLDER = "uses"  # in the cache


def note_uses(cache: Path, run_folder: Path, folders: Iterable[Path]) -> None:
    """Note that a run uses these folders of a cache."""
    run = str(as_written(run_folder))
    write_note(
        cache / FOLDER / f"{json_digest(run)[:32]}.json",
        {"run": run, "folders": sorted(str(as_written(folder)) for folder in folders)},
    )


def users_of(cache: Path) -> dict[Path, list[Path]]:
    """Return the run folders that still exist by each folder of a cache that they use."""
    users: dict[Path, list[Path]] = {}
    for path in sorted((cache / FOLDER).glob("*.json")):
        known = read_note(path)
        if known is not None and (run := Path(known[0]["run"])).is_dir():
            for folder in known[0]["folders"]:
                users.setdefault(Path(folder), []).append(run)
    return users


def stale(cache: Path) -> list[Path]:
    """Return the notes in a cache of runs whose folders are gone."""
    found = []
    for path in sorted((cache / FOLDER).glob("*.json")):
        known = read_note(path)
        if known is None or not Path(known[0]["run"]).is_dir():
            found.append(path)
    return found


def is_held(lock: Path) -> bool:
    """Return True if a process holds a lock, such as run.lock of a run that is being computed."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
