"""The frames that an exported file is compared on, and their labels: those of the run, or of another source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from odkd.config.parts import Parts


@dataclass(frozen=True)
class Frames:
    """Frames at the student's size.

    Args:
        images_NHWC: uint8 RGB.
        labels: reference, such as teacher -> a label map uint8 [H, W] for each frame; 255 = none.
    """

    images_NHWC: np.ndarray
    labels: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)


def read_frames(
    run: Path, source: str | None, num_frames: int, size: tuple[int, int], allow_targets: Sequence[str] = ()
) -> Frames:
    """Return frames, evenly spread over a source; None = the frames of the run, without labels.

    Raises:
        ValueError: there are none.
    """
    if source is not None:
        return Frames(_frames_of(source, num_frames, size))
    parts = _open(run, allow_targets)
    return _at(parts, spread(len(parts.stream), num_frames))


def read_calibration(
    run: Path, source: str | None, num_frames: int, size: tuple[int, int], allow_targets: Sequence[str] = ()
) -> tuple[np.ndarray, Frames]:
    """Return images uint8 [N, H, W, 3] to calibrate on, and other frames with their labels to score on.

    Those of a source have no labels.

    Raises:
        ValueError: there are none, or too few.
    """
    if source is not None:
        images_NHWC = _frames_of(source, 2 * num_frames, size)
        if len(images_NHWC) < 2:
            raise ValueError(f"--frames {source} has one frame; expected some to calibrate on and others to score on")
        return images_NHWC[::2], Frames(images_NHWC[1::2])
    parts = _open(run, allow_targets)
    chosen = spread(len(parts.stream), 2 * num_frames)
    return _at(parts, chosen[::2]).images_NHWC, _at(parts, chosen[1::2], with_labels=True)


def spread(num_there: int, num_wanted: int) -> np.ndarray:
    """Return int64 [n], ascending: numbers evenly spread over 0 to num_there - 1.

    >>> spread(10, 3)
    array([0, 4, 9])
    """
    return np.unique(np.linspace(0, num_there - 1, num_wanted).astype(np.int64))


def _open(run: Path, allow_targets: Sequence[str]) -> Parts:
    from odkd.config.stored_parts import parts_of_run

    try:
        parts = parts_of_run(run, allow_targets)
        len(parts.stream)
    except (ValueError, OSError) as error:
        raise ValueError(f"the frames of {run} cannot be read ({error}); give others with --frames SOURCE") from error
    return parts


def _at(parts: Parts, positions: np.ndarray, *, with_labels: bool = False) -> Frames:
    """Return the frames of positions, with the labels that are stored: a teacher that is not asked cannot fail."""
    from odkd.data.labels import resize_nearest

    images_NHWC = parts.frames.read(positions.tolist())
    if not with_labels:
        return Frames(images_NHWC)
    if parts.has_teacher and parts.teacher_labels.missing():
        sources = {} if parts.groundtruth is None else {"groundtruth": parts.groundtruth}
    else:
        sources = parts.references
    shape = images_NHWC.shape[1:3]
    return Frames(
        images_NHWC,
        {name: [resize_nearest(source.read(p), shape) for p in positions.tolist()] for name, source in sources.items()},
    )


def _frames_of(source: str, num_frames: int, size: tuple[int, int]) -> np.ndarray:
    from odkd.commands.predict.models import CACHE
    from odkd.commands.predict.sources import find_sources
    from odkd.data.video.decode import decode_frames
    from odkd.data.video.fit import stretched
    from odkd.data.video.image_index import read_picture
    from odkd.data.video.index import index_video

    found = find_sources(source)
    images = []
    for _, path in found.videos[:1]:
        index = index_video(path, CACHE)
        numbers = spread(index.num_frames, num_frames)
        images += [image for _, image in decode_frames(index, numbers, size=size) if image is not None]
    for _, path in found.pictures[: num_frames - len(images)]:
        images.append(stretched(read_picture(path), size))
    if not images:
        raise ValueError(f"--frames {source}: no frame can be read")
    return np.stack(images)
