"""The built-in dataset: rendered videos of a sunny city and a highway at night in turn, with exact ground truth."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image

from odkd.common.files import json_digest
from odkd.common.notes import read_note, write_note
from odkd.common.temporary import remove, temporary_for
from odkd.data.video.encode import MOST_SIDE, VideoWriter
from odkd.data.video.street.scene import Scene
from odkd.data.video.street.world import CLASS_COLOURS
from odkd.data.video.street.worlds import CITY, NIGHT

MOST_PIXELS, MOST_FRAMES = 2**24, 10**7
BUILDING = ".building"
OWN = re.compile(rf"[0-9a-f]{{16}}{re.escape(BUILDING)}")  # what is rendered here; others may lie beside it
VERSION = 1  # part of the folder's name: raise it when the images change
CLASSES: list[str] = list(CLASS_COLOURS)
PALETTE: list[list[int]] = [[int(value) for value in colour] for colour in CLASS_COLOURS.values()]

logger = logging.getLogger(__name__)


def render_dataset(
    folder: Path,
    *,
    height: int,
    width: int,
    frame_rate: float,
    num_periods: int,
    period_seconds: float,
    seed: int,
) -> Path:
    """Render the dataset into a folder below `folder`, whose name is a digest of the arguments, and return its path.

    It contains ``videos/00_city.mp4``, ``01_night.mp4``, ``02_city.mp4``, ..., one per period, and
    ``groundtruth/00_city/000000.png``, ..., one uint8 palette PNG of class ids per frame (no pixel is ignored). Time
    continues from period to period: when a world returns, it is the same world further down the road.

    The folder is rendered under another name and then renamed, so that an existing folder is complete. One process
    renders at a time while others wait; remains of a killed process are removed. A note beside the folder has the
    digest of each file: where one was lost or changed, the folder is rendered again, with a warning.

    Raises:
        ValueError: odd, too small or too large sizes, or no frame.
    """
    num_frames = _num_frames(height, width, frame_rate, num_periods, period_seconds)
    root, note = _places(folder, seed, height, width, frame_rate, num_periods, period_seconds)
    if root.is_dir() and _is_sound(root, note):
        return root
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "synthetic.lock"):
        if root.is_dir() and _is_sound(root, note):
            return root
        for leftover in folder.glob(f"*{BUILDING}"):  # under the lock no other process is rendering
            if OWN.fullmatch(leftover.name):
                remove(leftover)
        building = root.with_name(f"{root.name}{BUILDING}")
        logger.info("rendering %d x %d synthetic frames into %s", num_periods, num_frames, root)
        scenes = [Scene(world, height=height, width=width, seed=seed) for world in (CITY, NIGHT)]
        for period in range(num_periods):
            scene = scenes[period % 2]
            start = period * period_seconds
            times = [start + frame / frame_rate for frame in range(num_frames)]
            _write_video(building, f"{period:02d}_{scene.world.name}", scene, times, frame_rate)
        if root.is_dir():
            remove(root.replace(temporary_for(root)))
        write_note(note, [_version(path, building) for path in _files(building)])
        building.replace(root)
    return root


def frames_to_render(folder: Path, seed: int, **sizes: Any) -> int:
    """Return how many frames `render_dataset` would render with the same arguments; 0 if they are all there.

    Raises:
        ValueError: odd, too small or too large sizes, or no frame.
    """
    num_frames = _num_frames(**sizes)
    root, note = _places(folder, seed, **sizes)
    return 0 if root.is_dir() and _is_sound(root, note) else int(sizes["num_periods"]) * num_frames


def _places(
    folder: Path, seed: int, height: int, width: int, frame_rate: float, num_periods: int, period_seconds: float
) -> tuple[Path, Path]:
    """Return the folder and the note of a rendered dataset."""
    digest = json_digest([VERSION, height, width, frame_rate, num_periods, period_seconds, seed])[:16]
    return folder / digest, folder / f"{digest}.json"


def _num_frames(height: int, width: int, frame_rate: float, num_periods: int, period_seconds: float) -> int:
    """Return the number of frames of a period, after a check of all sizes."""
    if height % 2 or width % 2 or height < 32 or width < 32:
        raise ValueError(f"synthetic video of {height}x{width} pixels: height and width must be even and at least 32")
    num_frames = round(period_seconds * frame_rate) if frame_rate > 0 else 0
    if num_periods < 1 or num_frames < 1:
        raise ValueError(
            f"synthetic video of {num_periods} periods of {period_seconds} s at {frame_rate} frames per second "
            "has no frames; raise num_periods, period_seconds or frame_rate"
        )
    if height * width > MOST_PIXELS or max(height, width) > MOST_SIDE or num_periods * num_frames > MOST_FRAMES:
        raise ValueError(
            f"synthetic video of {num_periods} x {num_frames} frames of {height}x{width} pixels: expected at most "
            f"{MOST_FRAMES} frames of {MOST_PIXELS} pixels, {MOST_SIDE} a side; "
            "lower dataset.prepare.height, .width or .period_seconds"
        )
    return num_frames


def _is_sound(root: Path, note: Path) -> bool:
    """Return False, after a warning, if a file of a rendered folder was lost or changed since it was written."""
    known = read_note(note)
    if known is None:
        if note.is_file():
            return False
        logger.debug("%s is of an earlier odkd, without digests; it is not verified", root)
        return True
    for name, num_bytes, time_ns, digest in known[0]:
        path = root / name
        if path.is_file():
            status = path.stat()
            if [status.st_size, status.st_mtime_ns] == [num_bytes, time_ns] or _digest(path) == digest:
                continue
        logger.warning("%s was lost or changed since it was rendered; rendering %s again", path, root)
        return False
    return True


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _version(path: Path, root: Path) -> list[str | int]:
    """Return the name of a file, its size, its time of change in nanoseconds, and its digest."""
    status = path.stat()
    return [path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns, _digest(path)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_video(root: Path, stem: str, scene: Scene, times: list[float], frame_rate: float) -> None:
    truth = root / "groundtruth" / stem
    truth.mkdir(parents=True)
    palette = [value for colour in PALETTE for value in colour]
    path = root / "videos" / f"{stem}.mp4"
    with VideoWriter(path, width=scene.width, height=scene.height, frame_rate=frame_rate) as writer:
        for number, seconds in enumerate(times):
            image_HWC, labels_HW = scene.render(seconds)
            writer.write(image_HWC)
            picture = Image.fromarray(labels_HW)
            picture.putpalette(palette)
            picture.save(truth / f"{number:06d}.png", compress_level=1)
