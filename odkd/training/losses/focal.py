"""Focal loss: pixels that are already correct count less (Lin et al., ICCV 2017, eq. 5, for more than two classes)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.layout import float_planes
from odkd.common.settings import NonNegativeFloat
from odkd.training.losses.weights import ClassWeights, Weights


class Focal(nn.Module):
    """Mean over the labelled pixels of (1 - p)^gamma * -log p, where p is the probability of the pixel's class.

    With gamma 0 it is cross-entropy. The loss is 0 for a batch without labelled pixels.

    Args:
        gamma: exponent; 2 in the paper.
        class_weights: alpha of the paper, as in `CrossEntropy`; the mean is weighted too.
    """

    name = "focal"

    def __init__(self, gamma: NonNegativeFloat = 2.0, class_weights: Weights = None) -> None:
        super().__init__()
        self._gamma = gamma
        self.weights = ClassWeights(class_weights)
        self.weighs_classes = self.weights.are_measured

    def weigh(self, pixels_K: Tensor) -> None:
        """Set the weights from the pixels of each class, if they are inverse to its frequency."""
        self.weights.weigh(pixels_K)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Return a float32 scalar (float64 for float64 logits). `labels_BHW`: int64 class ids or 255."""
        entropies_BHW = F.cross_entropy(float_planes(logits_BKHW), labels_BHW, ignore_index=IGNORE, reduction="none")
        # 1 - p without cancellation, and above 0: at 0, a power with exponent below 1 has an infinite gradient.
        misses_BHW = -torch.expm1(-entropies_BHW)
        factors_BHW = misses_BHW.clamp(min=torch.finfo(misses_BHW.dtype).eps) ** self._gamma
        return self.weights.mean(factors_BHW * entropies_BHW, labels_BHW)
