"""Losses of a student against label maps; pixels labelled 255 never count."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from odkd.metrics import IGNORE


class Loss(Protocol):
    """A scalar from logits [B, K, H, W] and int64 labels [B, H, W]; `name` is its name among the metrics."""

    name: str

    def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor: ...


@runtime_checkable
class WeighsClasses(Protocol):
    """A loss that wants to know how often each class occurs in what is about to be learned from."""

    weighs_classes: bool

    def weigh(self, pixels_K: Tensor) -> None:
        """Called before each pass; `pixels_K`: labelled pixels of each class in the pass, float or int64 [K]."""


class CrossEntropy(nn.Module):
    """Cross-entropy averaged over the pixels that are labelled; 0 when a batch has none.

    `torch.nn.functional.cross_entropy` gives NaN there, which would end in the weights.

    Args:
        class_weights: one weight a class (as in torch: the mean is weighted too); None for all 1; or
            "inverse_frequency": 1 / share of the pixels in the set that is learned from, measured anew for each
            pass (ARTHuS, Cioppa et al. 2019); a class that the set lacks has weight 0.
    """

    name = "cross_entropy"
    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | Literal["inverse_frequency"] | None = None) -> None:
        super().__init__()
        if isinstance(class_weights, str) and class_weights != "inverse_frequency":
            raise ValueError(
                f"loss.class_weights={class_weights}; expected a list of one number a class, inverse_frequency, or null"
            )
        self.weighs_classes = isinstance(class_weights, str)
        is_list = class_weights is not None and not isinstance(class_weights, str)
        weights = torch.tensor(list(class_weights or ()), dtype=torch.float32) if is_list else None
        self.register_buffer("class_weights", weights)

    def weigh(self, pixels_K: Tensor) -> None:
        """Take weights inverse to how often each class occurs; see `class_weights`."""
        pixels_K = pixels_K.to(torch.float32)
        self.class_weights = torch.where(pixels_K > 0, pixels_K.sum() / pixels_K.clamp(min=1), 0)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Scalar float32. `labels_BHW`: int64 class ids or 255."""
        weights = self.class_weights
        total = F.cross_entropy(logits_BKHW.float(), labels_BHW, weight=weights, ignore_index=IGNORE, reduction="sum")
        is_labelled = labels_BHW != IGNORE
        if weights is None:
            return total / is_labelled.sum().clamp(min=1)
        mass = weights[labels_BHW.clamp(max=len(weights) - 1)].mul(is_labelled).sum()
        return total / mass.clamp(min=torch.finfo(torch.float32).tiny)
