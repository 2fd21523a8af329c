"""Slow, accurate networks that label the stream; one file a family, one YAML a teacher."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SampledFrames:
    """What a teacher is shown: some sampled frames of one video.

    `images_BHWC` is uint8 RGB, None for a teacher that `needs_images` not; `groundtruth(i)` gives the
    dataset's own label map of frame i of the batch (uint8 [H, W]) where the dataset has one. `video` is the
    file's name without its ending, `sample_numbers` count the sampled frames of the video (0, 1, 2, ...).
    """

    video_digest: str
    frame_numbers: Sequence[int]
    images_BHWC: np.ndarray | None
    groundtruth: Callable[[int], np.ndarray] | None
    video: str = ""
    sample_numbers: Sequence[int] = ()


class Teacher(Protocol):
    """Anything that turns sampled frames into label maps.

    `num_classes` may be None for a teacher that takes the dataset's classes as they are; `classes` are the
    names of its own classes in order of their ids, None where its weights do not say.
    """

    @property
    def num_classes(self) -> int | None: ...

    @property
    def classes(self) -> Sequence[str] | None: ...

    @property
    def needs_images(self) -> bool: ...

    def label(self, frames: SampledFrames) -> np.ndarray:
        """uint8 [B, H, W]: ids of its own classes, 255 = ignore."""


class Identified(Protocol):
    """A teacher class that says itself what determines its labels (others: their settings, files by content)."""

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """What replaces the settings in the label store's key: the same for the same weights, wherever they lie.

        Called before the teacher is built, also where its weights are not at hand. `file_digest` gives the
        sha256 (hex) of a file, remembered from run to run.
        """


@runtime_checkable
class SoftTeacher(Teacher, Protocol):
    """A teacher that also knows how sure it is."""

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> "tuple[np.ndarray, torch.Tensor]":
        """The label maps of `label`, and class probabilities float32 [B, K, h, w] at `size` = (h, w).

        Probabilities of a pixel sum to 1 and lie on the teacher's device.
        """


def class_names(teacher: Teacher) -> list[str] | None:
    """The teacher's own classes, of a teacher that says them."""
    names = getattr(teacher, "classes", None)  # users' teachers may leave the attribute out
    return None if names is None else [str(name) for name in names]
