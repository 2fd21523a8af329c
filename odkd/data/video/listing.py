"""The videos of a folder, in natural order of names, and what lies beside them and is not used."""

import logging
import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path

from odkd.common.names import counted

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"})
VIDEO_SUFFIXES |= {".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"}


def list_videos(folder: Path, start: int | None = None, stop: int | None = None) -> list[Path]:
    """Return the videos of a folder in natural order ("clip9" before "clip10"), and of these `[start:stop]`.

    Hidden files are no videos: macOS writes ._NAME beside each file on foreign disks.

    Raises:
        ValueError: there is no such folder, no video remains, or two videos have one name and would share ground truth.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected a folder of videos; check dataset.root")
    videos = [path for path in _visible(folder) if _is_named_as_video(path) and path.is_file()]
    if not videos:
        beside = "".join(f"; {line}" for line in unused(folder)[:3])
        raise ValueError(f"{folder} contains no video; expected files such as clip1.mp4, clip2.mkv{beside}")
    chosen = videos[start:stop]
    if not chosen:
        raise ValueError(
            f"dataset.start={start}, dataset.stop={stop} select none of {counted(len(videos), 'video')} in {folder}; "
            "change them"
        )
    named: dict[str, list[str]] = defaultdict(list)
    for path in chosen:
        named[unicodedata.normalize("NFC", path.stem)].append(path.name)  # macOS holds both forms of é for one name
    for stem, names in named.items():
        if len(names) > 1:
            raise ValueError(
                f"{' and '.join(names)} in {folder} have one name, {stem}, and would share ground truth and labels; "
                "expected one video of a name; rename or move the others"
            )
    return chosen


def log_unused(folder: Path) -> None:
    """Warn about everything in a folder that looks like a video and is not used; log other files."""
    for line in unused(folder):
        logger.warning(line)
    for path in _visible(folder):
        if path.is_file() and not _is_named_as_video(path):
            logger.info("%s does not have the extension of a video and is ignored", path)


def unused(folder: Path) -> list[str]:
    """Return a line for each broken link, each subfolder with videos, and all else that is only named like a video."""
    lines = []
    for path in _visible(folder):
        if path.is_symlink() and not path.exists():
            lines.append(f"left out: {path} is a link to {path.readlink()}, which is not there; fetch or mount it")
        elif path.is_dir():
            found = _first_video_below(path)
            if found is not None:
                lines.append(
                    f"left out: {path} is a folder with videos ({found.name} ...), and subfolders are not read; "
                    f"move or link its videos into {folder}"
                )
            elif _is_named_as_video(path):
                lines.append(f"left out: {path} is a folder; expected a file")
        elif not path.is_file() and _is_named_as_video(path):
            lines.append(f"left out: {path} is no plain file; expected a video")
    return lines


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sorting key that compares runs of digits as numbers.

    >>> sorted(["b2", "b10", "a", "b1"], key=natural)
    ['a', 'b1', 'b2', 'b10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _visible(folder: Path) -> list[Path]:
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(paths, key=lambda path: natural(path.name))


def _is_named_as_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _first_video_below(folder: Path) -> Path | None:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files, key=natural):
            if not name.startswith(".") and _is_named_as_video(Path(name)):
                return Path(place) / name
    return None
