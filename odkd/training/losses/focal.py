"""Focal loss: pixels that are right already count less (Lin et al., ICCV 2017, eq. 5, for more than two classes)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.training.losses.weights import ClassWeights, Weights, at_least_float32


class Focal(nn.Module):
    """Mean over the labelled pixels of (1 - p)^gamma * -log p, p being the probability of the pixel's class.

    gamma 0 is cross-entropy. 0 when a batch has no labelled pixel.

    Args:
        gamma: at least 0; the paper's is 2.
        class_weights: the paper's alpha, as in `CrossEntropy`; the mean is weighted too.
    """

    name = "focal"

    def __init__(self, gamma: float = 2.0, class_weights: Weights = None) -> None:
        super().__init__()
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma={gamma} of the focal loss; expected a number of at least 0, such as 2")
        self._gamma = gamma
        self.weights = ClassWeights(class_weights)
        self.weighs_classes = self.weights.are_measured

    def weigh(self, pixels_K: Tensor) -> None:
        """Take weights inverse to how often each class occurs."""
        self.weights.weigh(pixels_K)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Scalar float32 (float64 of such logits). `labels_BHW`: int64 class ids or 255."""
        entropies_BHW = F.cross_entropy(
            at_least_float32(logits_BKHW), labels_BHW, ignore_index=IGNORE, reduction="none"
        )
        # 1 - p without cancellation; never 0, where a power below 1 has an infinite slope.
        misses_BHW = -torch.expm1(-entropies_BHW)
        factors_BHW = misses_BHW.clamp(min=torch.finfo(misses_BHW.dtype).eps) ** self._gamma
        return self.weights.mean(factors_BHW * entropies_BHW, labels_BHW)
