"""Cross-entropy, with classes weighted by hand or by how rare they are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.training.losses.weights import ClassWeights, Weights, at_least_float32


class CrossEntropy(nn.Module):
    """Cross-entropy averaged over the pixels that are labelled; 0 when a batch has none.

    `torch.nn.functional.cross_entropy` gives NaN there, which would end in the weights.

    Args:
        class_weights: one weight a class (as in torch: the mean is weighted too), None for all 1, or
            "inverse_frequency" (`weights.ClassWeights`).
    """

    name = "cross_entropy"

    def __init__(self, class_weights: Weights = None) -> None:
        super().__init__()
        self.weights = ClassWeights(class_weights)
        self.weighs_classes = self.weights.are_measured

    @property
    def class_weights(self) -> Tensor | None:
        """Float32 [K], as they are now."""
        return self.weights.values_K

    def weigh(self, pixels_K: Tensor) -> None:
        """Take weights inverse to how often each class occurs."""
        self.weights.weigh(pixels_K)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Scalar float32 (float64 of such logits). `labels_BHW`: int64 class ids or 255."""
        logits_BKHW, weights_K = at_least_float32(logits_BKHW), self.weights.values_K
        if weights_K is None:
            total = F.cross_entropy(logits_BKHW, labels_BHW, ignore_index=IGNORE, reduction="sum")
            return total / (labels_BHW != IGNORE).sum().clamp(min=1)
        weights_K = weights_K.to(logits_BKHW.dtype)
        total = F.cross_entropy(logits_BKHW, labels_BHW, weight=weights_K, ignore_index=IGNORE, reduction="sum")
        return total / self.weights.masses(labels_BHW).sum().clamp(min=torch.finfo(torch.float32).tiny)
