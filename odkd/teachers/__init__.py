"""Teachers: slow, accurate networks that label the stream. One module per family, one YAML file per teacher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]  # the keys of odkd.common.device.PRECISIONS


@dataclass(frozen=True)
class SampledFrames:
    """A batch of sampled frames of one video, as a teacher receives it.

    Args:
        video_digest: sha256 of the video.
        frame_numbers: of the frames in the video.
        images_BHWC: uint8 RGB; None for a teacher whose `needs_images` is false.
        groundtruth: returns the dataset's label map of frame i of the batch, uint8 [H, W]; None without ground truth.
        video: name of the video file without its extension.
        sample_numbers: of the frames among the sampled frames of the video (0, 1, 2, ...).
        begins_clip: the first frame begins a clip: a teacher with state forgets what it saw before.
    """

    video_digest: str
    frame_numbers: Sequence[int]
    images_BHWC: np.ndarray | None
    groundtruth: Callable[[int], np.ndarray] | None
    video: str = ""
    sample_numbers: Sequence[int] = ()
    begins_clip: bool = True


class Teacher(Protocol):
    """Anything that turns sampled frames into label maps.

    `num_classes` may be None for a teacher that has the dataset's classes. `classes` are the names of the teacher's
    classes in the order of their ids, None where its weights do not name them.

    A teacher with state over frames has an attribute `clip_frames`, a whole number of at least 1. Its state begins anew
    with every clip of so many sampled frames of a video, and it sees a clip in order, from its first frame on, in the
    same batches, however often labelling was interrupted and whichever process does it: `SampledFrames.begins_clip` is
    true for the first batch of a clip. So labels depend on the video and its sampled frames alone. Damaged frames
    are left out of a clip. The number must be part of the identity.

    A teacher class may have a static method `identity(settings, file_digest)`. What it returns, a dict that JSON can
    hold, replaces the settings in the label store's key, so that the same weights have the same key wherever they lie.
    It is called before the teacher is built, also where the weights are not at hand. `file_digest(path)` returns the
    sha256 (hex) of a file and caches it between runs. Without the method, the settings count, files by their content.
    """

    @property
    def num_classes(self) -> int | None: ...

    @property
    def classes(self) -> Sequence[str] | None: ...

    @property
    def needs_images(self) -> bool: ...

    def label(self, frames: SampledFrames) -> np.ndarray:
        """Return label maps uint8 [B, H, W]: ids of the teacher's classes, 255 = ignore."""


@runtime_checkable
class SoftTeacher(Teacher, Protocol):
    """A teacher that also gives class probabilities."""

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> "tuple[np.ndarray, torch.Tensor]":
        """Return the label maps of `label`, and class probabilities float32 [B, K, h, w] at `size` = (h, w).

        The probabilities of a pixel sum to 1 and lie on the teacher's device.
        """


def class_names(teacher: Teacher) -> list[str] | None:
    """Return the names of the teacher's classes, or None where it does not know them."""
    names = getattr(teacher, "classes", None)  # users' teachers may leave the attribute out
    return None if names is None else [str(name) for name in names]


def clip_frames_of(teacher: Teacher) -> int:
    """Return over how many sampled frames a teacher holds its state; 0 = it has none.

    Raises:
        ValueError: its `clip_frames` is no such number.
    """
    clip_frames = getattr(teacher, "clip_frames", None)
    if clip_frames is None:
        return 0
    if type(clip_frames) is not int or clip_frames < 0:
        raise ValueError(f"the teacher has clip_frames={clip_frames}; expected a whole number of frames, or 0 for none")
    return clip_frames


def refuse_nan(scores: "torch.Tensor", whose: str) -> None:
    """Refuse scores of which some are NaN: no class is the likeliest, and labels would be those of an arbitrary one.

    Args:
        scores: logits or probabilities of any shape.
        whose: the network, for the message.

    Raises:
        ValueError: one is NaN.
    """
    if scores.isnan().any():
        raise ValueError(
            f"{whose} answers with NaN; set teacher.precision=float32 if it is lower, or check its weights, mean and "
            "std"
        )
