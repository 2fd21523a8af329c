"""Slow, accurate networks that label the stream; one file a family, one YAML a teacher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class SampledFrames:
    """What a teacher is shown: some sampled frames of one video.

    `images_BHWC` is uint8 RGB, None for a teacher that `needs_images` not; `groundtruth(i)` gives the
    dataset's own label map of frame i of the batch (uint8 [H, W]) where the dataset has one.
    """

    video_digest: str
    frame_numbers: Sequence[int]
    images_BHWC: np.ndarray | None
    groundtruth: Callable[[int], np.ndarray] | None


class Teacher(Protocol):
    """Anything that turns sampled frames into label maps.

    `num_classes` may be None for a teacher that takes the dataset's classes as they are.
    """

    num_classes: int | None
    needs_images: bool

    def label(self, frames: SampledFrames) -> np.ndarray:
        """uint8 [B, H, W]: class ids, 255 = ignore."""
