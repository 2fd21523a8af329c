"""Cross-entropy with optional class weights, given or inverse to class frequency, and smoothed labels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.layout import float_planes
from odkd.common.settings import Fraction
from odkd.training.losses.weights import ClassWeights, Weights, at_least_float32


class CrossEntropy(nn.Module):
    """Cross-entropy averaged over the labelled pixels; 0 for a batch without any.

    `torch.nn.functional.cross_entropy` returns NaN for such a batch, which would spread to the student's weights.

    Args:
        class_weights: one weight per class (as in torch, the mean is weighted too), "inverse_frequency" (see
            `weights.ClassWeights`), or None for all 1.
        label_smoothing: share of the probability that is divided evenly among all classes (Szegedy et al., CVPR 2016,
            sec. 7), 0 = none. Class weights then weigh each class's part, as in torch.

    With `fast_forms`, pixels are rows: for logits in channels-last this copies nothing; equal up to the last bit.
    """

    name = "cross_entropy"
    fast_forms = False

    def __init__(self, class_weights: Weights = None, label_smoothing: Fraction = 0.0) -> None:
        super().__init__()
        self._smoothing = label_smoothing
        self.weights = ClassWeights(class_weights)
        self.weighs_classes = self.weights.are_measured

    @property
    def class_weights(self) -> Tensor | None:
        """The current weights, float32 [K]."""
        return self.weights.values_K

    def weigh(self, pixels_K: Tensor) -> None:
        """Set the weights from the pixels of each class, if they are inverse to its frequency."""
        self.weights.weigh(pixels_K)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Return a float32 scalar (float64 for float64 logits). `labels_BHW`: int64 class ids or 255."""
        labels, weights_K = labels_BHW, self.weights.values_K
        if self.fast_forms:
            logits = at_least_float32(logits_BKHW).permute(0, 2, 3, 1).flatten(0, 2)  # [N, K]
            labels = labels.flatten()
        else:
            logits = float_planes(logits_BKHW)
        if weights_K is None:
            return self._summed(logits, labels, None) / (labels_BHW != IGNORE).sum().clamp(min=1)
        total = self._summed(logits, labels, weights_K.to(logits.dtype))
        return total / self.weights.masses(labels_BHW).sum().clamp(min=torch.finfo(torch.float32).tiny)

    def _summed(self, logits_BKHW: Tensor, labels_BHW: Tensor, weights_K: Tensor | None) -> Tensor:
        """Return the sum over the labelled pixels. On a GPU torch's own sum has other last bits each time."""
        return F.cross_entropy(
            logits_BKHW,
            labels_BHW,
            weight=weights_K,
            ignore_index=IGNORE,
            reduction="none" if logits_BKHW.is_cuda else "sum",
            label_smoothing=self._smoothing,
        ).sum()
