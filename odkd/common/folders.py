"""Walking through folders that somebody else has filled: links are followed, and the walk ends."""

import os
from collections.abc import Iterator
from pathlib import Path

MOST_FOLDERS = 200_000  # of one walk; links to each other would make their number exponential


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder at and below `root` with the names of its files, in no particular order.

    Hidden folders are skipped. Links to folders are followed, except to one in which the walk is already: its files are
    found where it lies. Files are all that is no folder, also what cannot be opened.

    Raises:
        ValueError: there are too many folders.
    """
    num_folders = 0
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError:  # no folder, no permission, or it is gone
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            continue
        num_folders += 1
        if num_folders > MOST_FOLDERS:
            raise ValueError(
                f"{root} has more than {MOST_FOLDERS} folders, counting those that links lead to; remove links to "
                "folders, or move what does not belong there"
            )
        inside = above | {identity}
        files: list[str] = []
        for entry in entries:
            if not _is_folder(entry):
                files.append(entry.name)
            elif not entry.name.startswith("."):
                waiting.append((Path(entry.path), inside))
        yield folder, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
