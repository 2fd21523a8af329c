"""What lies where a label map was expected, and what would make it fit: for messages about missing maps."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from odkd.common.names import counted, nearest

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".npz", ".npy")
Numbering = Literal["frame", "sample"]
MOST_FILES = 100_000  # that are looked at


def what_is_there(
    folder: Path, wanted: Sequence[int], endings: Sequence[str], numbering: Numbering | None = None
) -> str:
    """Return, in words for the end of a message, what a video's folder of maps has instead of `wanted`.

    Args:
        folder: of the video's maps, FOLDER/VIDEO.
        wanted: numbers of sampled frames, ascending: all of them, or some with a `numbering`.
        endings: that are read, such as ".png".
        numbering: `teacher.numbering`; None for ground truth, which is numbered by frame.
    """
    if not folder.is_dir():
        return _no_folder(folder)
    names = sorted(path.name for path, _ in zip(folder.iterdir(), range(MOST_FILES), strict=False))
    maps = [name for name in names if Path(name).suffix.lower() in PICTURES and not name.startswith(".")]
    if not maps:
        return f"{folder} has {f'no pictures, but {names[0]}' if names else 'no files'}"
    others = f"{folder} has {counted(len(maps), 'file')}, {maps[0]}{f' to {maps[-1]}' if len(maps) > 1 else ''}"
    fit = "; ".join(_spelling(maps, endings)) or _fitting(maps, list(wanted), numbering)
    return f"{others}{f': {fit}' if fit else ''}"


def nothing_there(folder: Path, endings: Sequence[str]) -> str:
    """Return, in words for the end of a message, what a folder of folders has instead of maps."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not inside:
        return _no_folder(folder / "VIDEO") if folder.is_dir() else f"there is no folder {folder}"
    return what_is_there(inside[0], [0], endings)


def _no_folder(folder: Path) -> str:
    beside = sorted(path.name for path in folder.parent.iterdir()) if folder.parent.is_dir() else []
    if not beside:
        return f"{folder.parent} has no files"
    for name in beside:
        if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", folder.name):
            return f"{folder.parent} has {name}, the same name in another Unicode form: rename it or the video"
    close = nearest(folder.name, beside)
    shown = ", ".join(beside[:3]) + (", ..." if len(beside) > 3 else "")
    return f"there is no folder {folder}, and {folder.parent} has {shown}{close or ': put them into it, or rename it'}"


def _spelling(maps: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Return what is wrong with names of files that are pictures: the ending, the digits, or other words."""
    first, reasons = Path(maps[0]), []
    expected = " or ".join(endings)
    if first.suffix not in endings:
        if first.suffix.lower() in endings:
            reasons.append(f"the ending {first.suffix} is not {first.suffix.lower()}, rename them")
        elif first.suffix.lower() in (".jpg", ".jpeg", ".webp"):
            reasons.append(f"{first.suffix} loses class ids, save the maps as {expected}")
        else:
            reasons.append(f"the ending {first.suffix} is not read, save them as {expected}")
    if not re.fullmatch(r"[0-9]{6}|[1-9][0-9]{6,}", first.stem):
        found = re.search(r"([0-9]+)[^0-9]*$", first.stem)
        if found is None:
            reasons.append("the names have no frame numbers")
        elif found[1] == first.stem:
            reasons.append(f"the numbers have {counted(len(found[1]), 'digit')}, expected six: {int(found[1]):06d}")
        else:
            reasons.append(f"the names have more than the frame's number, expected {int(found[1]):06d}{endings[0]}")
    return reasons


def _fitting(maps: Sequence[str], wanted: list[int], numbering: Numbering | None) -> str:
    """Return what the numbers of the files seem to count, and the setting or the names that would fit."""
    numbers = sorted({int(Path(name).stem) for name in maps if Path(name).stem.isdecimal()})
    there, start, step = set(numbers), numbers[0], wanted[1] - wanted[0] if len(wanted) > 1 else 1
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    if start > 0 and {number + start for number in wanted} <= there:
        return f"they count from {start}, and odkd from 0: subtract {start} from each"
    is_sample = start in (0, 1) and steps <= {1} and step > 1 and (numbering or len(numbers) == len(wanted))
    if is_sample and numbering == "frame" and start == 0:
        return "they seem to count sampled frames: set teacher.numbering=sample"
    if is_sample:
        return f"they seem to count sampled frames from {start}: name each by its frame, {wanted[1]:06d} for the second"
    if numbering == "sample":
        return (
            "they seem to count frames of the video: set teacher.numbering=frame" if max(steps, default=1) > 1 else ""
        )
    if numbering is None and numbers[-1] >= wanted[-1] + 2 * step:
        return f"their numbers go up to {numbers[-1]}, beyond the video: name each by its frame, from 0"
    every = min(steps, default=1)
    if every > 1 and all(later % every == 0 for later in numbers) and step % every:
        return f"there is one for {every} frames: set dataset.stride={every}, or a multiple"
    return ""
