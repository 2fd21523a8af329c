"""What a cache holds, for `odkd-labels prune`: label stores, frames, synthetic videos, notes, and who uses them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from odkd.commands.labels_found import size_and_change
from odkd.common.files import as_written, json_digest
from odkd.common.names import counted
from odkd.common.notes import NOTES, read_note
from odkd.data.labels.claims import owner_of
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import LabelStore
from odkd.data.labels.store_files import find_stores
from odkd.data.video.frame_rows import LOCK, MANIFEST, RAW
from odkd.runs.records import STATUS
from odkd.runs.run_file import read_record
from odkd.runs.uses import is_held, users_of

PARTS = ("labels", "frames", "synthetic", "digests", "videos", "images", "uses")  # of a cache


@dataclass(frozen=True)
class Item:
    """A folder of a cache.

    Args:
        what: it is, in words.
        lacks: what it lacks; "" if it is complete.
        users: run folders.
        busy: who works on it now; "" if nobody does.
    """

    path: Path
    what: str
    lacks: str = ""
    users: Sequence[Path] = field(default_factory=list)
    busy: str = ""

    @cached_property
    def changed(self) -> float:
        """When it was last written to, in seconds since the epoch."""
        if (self.path / "labels").is_dir():
            return size_and_change(self.path)[1]
        return max(path.stat().st_mtime for path in [self.path, *self.path.rglob("*")])


class Cache:
    """A cache, and the runs beside it.

    Args:
        folder: the cache, as paths.cache names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._users = users_of(folder)
        self._runs = [(path.parent, record) for path in self._run_files() if (record := _record(path.parent))]

    @classmethod
    def of(cls, path: Path) -> "Cache":
        """Return the cache that a folder is or lies in; the folder itself if none is found."""
        around = [path, *as_written(path).parents[:4]]
        return cls(next((folder for folder in around if is_cache(folder)), path))

    def stores(self, folders: Sequence[Path]) -> Iterator[Item]:
        """Yield label stores."""
        for folder in folders:
            owners = {owner_of(path) for path in folder.glob("claims/*.json")} - {None}
            users, lacks, what = self._users_of(folder), "", "label store"
            try:
                store = LabelStore(folder)
            except DamagedLabelsError:
                what = "damaged label store"
            else:
                users += self._users_of_labels(store.manifest["identity"]["teacher"])
                what = f"labels of {store.manifest['video']} by {store.manifest['teacher']}"
                missing = store.num_frames - store.num_stored()
                lacks = f"lacks {counted(missing, 'frame')}" if missing else ""
            busy = f"{', '.join(sorted(map(str, owners)))} is labelling" if owners else _busy(users)
            yield Item(folder, what, lacks, sorted(set(users)), busy)

    def folders(self) -> Iterator[Item]:
        """Yield frames and synthetic videos."""
        for folder in _folders(self.folder / "frames"):
            users = self._users_of(folder)
            known = read_note(folder / MANIFEST, trusts_old=True)
            what = (
                f"frames of {Path(known[0]['video']).name}, {'x'.join(map(str, known[0]['size']))}"
                if known
                else "frames"
            )
            is_kept = (folder / RAW).is_file() or not list(folder.glob("frames.*"))
            busy = "a process is decoding" if is_held(folder / LOCK) else _busy(users)
            yield Item(folder, what, "" if known and is_kept else "is not finished", users, busy)
        busy = "a process is rendering" if is_held(self.folder / "synthetic" / "synthetic.lock") else ""
        for folder in _folders(self.folder / "synthetic"):
            users = self._users_of(folder)
            lacks = "is not finished" if folder.suffix == ".building" else ""
            yield Item(folder, "synthetic videos", lacks, users, busy or _busy(users))

    def notes(self) -> Iterator[tuple[str, list[Path]]]:
        """Yield the folders of notes by name, each with its files."""
        for name in NOTES:
            files = [path for path in (self.folder / name).glob("*") if path.is_file() and path.suffix != ".tmp"]
            if files:
                yield name, files

    def _users_of(self, folder: Path) -> list[Path]:
        return list(self._users.get(as_written(folder), []))

    def _users_of_labels(self, teacher: dict[str, Any]) -> list[Path]:
        """Return the runs that say in run.json that they use these labels: a teacher's, or those of their students."""
        digest = json_digest(teacher)
        return [
            folder
            for folder, record in self._runs
            if record.get("tags", {}).get("odkd.teacher_digest") == digest or record["key"] == teacher.get("run")
        ]

    def _run_files(self) -> list[Path]:
        return sorted((as_written(self.folder).parent / "runs").glob("*/run.json"))


def is_cache(folder: Path) -> bool:
    """True if a folder has parts of a cache."""
    return sum((folder / part).is_dir() for part in PARTS) > 1


def stores_in(folder: Path) -> list[Path]:
    """Return the label stores of a cache, or in a folder of stores."""
    return [*find_stores(folder), *find_stores(folder / "labels")]


def _busy(users: Sequence[Path]) -> str:
    running = [folder.name for folder in users if is_held(folder / "run.lock")]
    return f"{', '.join(running)} is running" if running else ""


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return read_record(folder, {**STATUS, "tags?": dict[str, str]})
    except (ValueError, OSError):
        return None
