"""Losses of a student against label maps; pixels labelled 255 never count."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from odkd.metrics import IGNORE


class Loss(Protocol):
    """A scalar from logits [B, K, H, W] and int64 labels [B, H, W]; `name` is its name among the metrics."""

    name: str

    def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor: ...


class CrossEntropy(nn.Module):
    """Cross-entropy averaged over the pixels that are labelled; 0 when a batch has none.

    `torch.nn.functional.cross_entropy` gives NaN there, which would end in the weights.

    Args:
        class_weights: one weight a class (as in torch: the mean is weighted too), or None for all 1.
    """

    name = "cross_entropy"
    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", weights)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Scalar float32. `labels_BHW`: int64 class ids or 255."""
        weights = self.class_weights
        total = F.cross_entropy(logits_BKHW.float(), labels_BHW, weight=weights, ignore_index=IGNORE, reduction="sum")
        is_labelled = labels_BHW != IGNORE
        if weights is None:
            return total / is_labelled.sum().clamp(min=1)
        mass = weights[labels_BHW.clamp(max=len(weights) - 1)].mul(is_labelled).sum()
        return total / mass.clamp(min=torch.finfo(torch.float32).tiny)
