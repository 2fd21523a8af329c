"""A member of a teacher made of teachers: what it says of frames, and of mirrored ones, in the ensemble's classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from odkd.common.ignore import IGNORE
from odkd.data.labels import highest_class
from odkd.teachers import SampledFrames, SoftTeacher, Teacher


@dataclass(frozen=True, eq=False)
class Member:
    """A teacher of an ensemble.

    Args:
        teacher: as built.
        ids: uint8 [256], its class id -> the ensemble's; 255 = none.
        batch_size: frames that it receives at once.
    """

    teacher: Teacher
    ids: np.ndarray
    batch_size: int


def label_of(name: str, member: Member, frames: SampledFrames, is_mirrored: bool) -> np.ndarray:
    """Return a member's label maps of frames, or what it says of the mirrored ones, with the ensemble's ids."""
    labels_BHW = member.teacher.label(_mirrored(frames) if is_mirrored else frames)
    mapped_BHW: np.ndarray = member.ids[checked_labels(name, member, labels_BHW)]
    return mapped_BHW[:, :, ::-1] if is_mirrored else mapped_BHW


def probabilities_of(
    member: Member, frames: SampledFrames, size: tuple[int, int], *, is_mirrored: bool
) -> tuple[np.ndarray, torch.Tensor]:
    """Return a member's label maps and probabilities [B, K, H, W]; their mean with those of the mirrored frames."""
    assert isinstance(member.teacher, SoftTeacher)
    labels_BHW, own_BKHW = member.teacher.label_softly(frames, size)
    if not is_mirrored:
        return labels_BHW, own_BKHW
    mirrored_BKHW = member.teacher.label_softly(_mirrored(frames), size)[1].flip(-1)
    return labels_BHW, (own_BKHW + mirrored_BKHW) / 2


def _mirrored(frames: SampledFrames) -> SampledFrames:
    """Return frames with left and right exchanged."""
    assert frames.images_BHWC is not None, "checked by the constructor"
    return replace(frames, images_BHWC=frames.images_BHWC[:, :, ::-1].copy())


def checked_labels(name: str, member: Member, labels_BHW: np.ndarray) -> np.ndarray:
    """Return a member's label maps if they are some."""
    limit = member.teacher.num_classes or IGNORE
    is_uint8 = labels_BHW.dtype == np.uint8 and labels_BHW.ndim == 3
    if not is_uint8 or highest_class(labels_BHW) >= limit:
        raise ValueError(
            f"teacher.members.{name} returned {labels_BHW.dtype} {labels_BHW.shape}; expected uint8 label maps "
            f"[frames, height, width] with ids below {limit}, or {IGNORE}"
        )
    return labels_BHW


def parts_of(frames: SampledFrames, batch_size: int) -> Iterator[SampledFrames]:
    """Yield the frames in batches of a member's size."""
    for start in range(0, len(frames.frame_numbers), batch_size):
        end = start + batch_size
        yield replace(
            frames,
            frame_numbers=frames.frame_numbers[start:end],
            images_BHWC=None if frames.images_BHWC is None else frames.images_BHWC[start:end],
            groundtruth=None if frames.groundtruth is None else partial(_from, frames.groundtruth, start),
            sample_numbers=frames.sample_numbers[start:end],
            begins_clip=frames.begins_clip and start == 0,
        )


def _from(read: Callable[[int], np.ndarray], start: int, number: int) -> np.ndarray:
    """Return the ground truth of a frame of a part that begins at `start`."""
    return read(start + number)
