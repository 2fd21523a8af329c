"""What `odkd-predict` can look at: videos, pictures, and live streams."""

from __future__ import annotations

import glob
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odkd.common.files import at_home
from odkd.data.video.image_index import IMAGE_SUFFIXES
from odkd.data.video.listing import VIDEO_SUFFIXES, natural

LIVE = re.compile(r"[a-z][a-z0-9+.-]+://|/dev/video\d|camera:")


@dataclass(frozen=True)
class Sources:
    """Videos and pictures on disk, each with the name of what is made of it."""

    videos: Sequence[tuple[str, Path]]
    pictures: Sequence[tuple[str, Path]]


def is_live(source: str) -> bool:
    """Return True for the address of a stream or a camera: rtsp://..., http://..., /dev/video0, camera:0."""
    return LIVE.match(source) is not None


def find_sources(source: str) -> Sources:
    """Return the videos and pictures that a path or a pattern names; of a folder, those directly in it.

    Raises:
        ValueError: there is none.
    """
    path = at_home(source)
    if path.is_dir():
        found = [item for item in path.iterdir() if not item.name.startswith(".")]
        root = path
    elif path.exists():
        found, root = [path], path.parent
    else:
        root = _fixed_part(path)
        found = list(root.glob(str(path.relative_to(root)))) if path != root else []
    files = sorted((item for item in found if item.is_file()), key=lambda item: natural(str(item)))
    pictures = [item for item in files if item.suffix.lower() in IMAGE_SUFFIXES]
    videos = [item for item in files if item.suffix.lower() in VIDEO_SUFFIXES or (item == path and not pictures)]
    if not pictures and not videos:
        what = "has no video and no picture" if path.is_dir() else "names no video and no picture"
        raise ValueError(f"{source} {what}; expected a file, a folder, a pattern such as 'clips/*.mp4', or an address")
    return Sources(_named(videos, root), _named(pictures, root))


def _fixed_part(pattern: Path) -> Path:
    """Return the folder above the first part of a pattern that varies."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def _named(files: Sequence[Path], root: Path) -> list[tuple[str, Path]]:
    """Return each file with its path below the root, without its ending unless two would then have one name."""
    below = [file.relative_to(root) for file in files]
    counts = Counter(path.with_suffix("") for path in below)
    named = [path if counts[path.with_suffix("")] > 1 else path.with_suffix("") for path in below]
    return [(path.as_posix(), file) for path, file in zip(named, files, strict=True)]
