"""Attention transfer (Zagoruyko & Komodakis, ICLR 2017, eq. 2 with p = 2, as in their released code).

    A = mean over channels of F^2, as a vector over the places, divided by its length
    loss = mean over images and places of (A of the student - A of the teacher)^2

Channels are not compared, so their numbers may differ.
"""

import torch.nn.functional as F
from torch import Tensor

from odkd.training.features import Projection


class AttentionTransfer:
    """Compares where the features of a map are strong."""

    projection: Projection = "never"

    def __call__(self, student_BCHW: Tensor, teacher_BDHW: Tensor) -> Tensor:
        return (attention(student_BCHW) - attention(teacher_BDHW)).square().mean()


def attention(features_BCHW: Tensor) -> Tensor:
    """Return the attention of each image: float32 [B, N] of length 1, over its N places."""
    return F.normalize(features_BCHW.square().mean(1).flatten(1), dim=1)
