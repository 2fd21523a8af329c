"""Class weights of a loss: given, or inverse to the class frequencies in the frames that are learned from."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.settings import NonNegativeFloat

Weights = Sequence[NonNegativeFloat] | Literal["inverse_frequency", "inverse_root_frequency"] | None


class ClassWeights(nn.Module):
    """Class weights; `values_K` is float32, one weight per class, or None for all 1.

    Args:
        class_weights: a list, None, or "inverse_frequency": 1 / the class's share of the pixels in the frames of a
            pass, recomputed for each pass (ARTHuS, Cioppa et al. 2019); a class without pixels has weight 0. In a
            weighted mean this equals median frequency balancing, because a common factor cancels.
            "inverse_root_frequency": the square root of that, so that rare classes gain less.
    """

    values_K: Tensor | None

    def __init__(self, class_weights: Weights) -> None:
        super().__init__()
        self.are_measured = isinstance(class_weights, str)
        self._exponent = 0.5 if class_weights == "inverse_root_frequency" else 1.0
        is_list = class_weights is not None and not isinstance(class_weights, str)
        values_K = torch.tensor(list(class_weights or ()), dtype=torch.float32) if is_list else None
        self.register_buffer("values_K", values_K)

    def weigh(self, pixels_K: Tensor) -> None:
        """Set the weights from the pixels of each class, if they are inverse to its frequency."""
        if self.are_measured:
            pixels_K = pixels_K.to(torch.float32)
            self.values_K = torch.where(pixels_K > 0, pixels_K.sum() / pixels_K.clamp(min=1), 0) ** self._exponent

    def mean(self, losses_BHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Return the mean of `losses_BHW` over the labelled pixels, weighted by class; 0 if there are none."""
        is_labelled_BHW = labels_BHW != IGNORE
        if self.values_K is None:
            return losses_BHW.mul(is_labelled_BHW).sum() / is_labelled_BHW.sum().clamp(min=1)
        masses_BHW = self.masses(labels_BHW).to(losses_BHW.dtype)
        return losses_BHW.mul(masses_BHW).sum() / masses_BHW.sum().clamp(min=torch.finfo(torch.float32).tiny)

    def masses(self, labels_BHW: Tensor) -> Tensor:
        """Return the weight of each pixel's class, 0 for ignored pixels: float32 [B, H, W]."""
        assert self.values_K is not None
        return self.values_K[labels_BHW.clamp(max=len(self.values_K) - 1)].mul(labels_BHW != IGNORE)


def at_least_float32(logits_BKHW: Tensor) -> Tensor:
    """Return float64 logits unchanged and all others as float32, which sums over many pixels need."""
    return logits_BKHW if logits_BKHW.dtype == torch.float64 else logits_BKHW.float()
