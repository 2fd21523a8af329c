"""Feature losses: how far features of a layer of the student are from those of a layer of the teacher.

Each loss has one file. It is called in float32, whatever the precision of the run; the teacher's features come without
a gradient and at the size of the student's map. Channels may differ: `projection` says whether odkd brings the
student's to the number of the teacher's, by a 1x1 convolution that learns with the student and is no part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # settings are checked without torch
    from torch import Tensor

Projection = Literal["always", "if_needed", "never"]  # if_needed: where the numbers of channels differ


class FeatureLoss(Protocol):
    """Function from features of the student [B, C, H, W] and of the teacher [B, D, H, W] to a scalar.

    `projection` is optional; without it, "never".
    """

    projection: Projection

    def __call__(self, student_BCHW: Tensor, teacher_BDHW: Tensor) -> Tensor: ...


def projection_of(loss: FeatureLoss) -> Projection:
    """Return how a loss wants the student's channels to be projected."""
    return getattr(loss, "projection", "never")
