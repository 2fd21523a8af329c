"""Cross-entropy over the pixels of whose label the teacher is certain (threshold of FixMatch, Sohn et al. 2020)."""

from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.settings import Fraction
from odkd.data.labels.soft import SoftLabels
from odkd.training.losses.cross_entropy import CrossEntropy
from odkd.training.losses.soft import resize_labels
from odkd.training.losses.weights import Weights


class Confident(nn.Module):
    """Cross-entropy of the pixels for whose likeliest class the teacher gives at least `threshold`.

    The probabilities are the stored soft labels, at whatever size they have: a pixel takes the nearest. Pixels without
    one do not count.

    Args:
        threshold: smallest probability; 0 = all pixels that have soft labels.
        class_weights, label_smoothing: as for `CrossEntropy`.
    """

    name = "confident"
    needs_soft_labels = True

    def __init__(self, threshold: Fraction, class_weights: Weights = None, label_smoothing: Fraction = 0.0) -> None:
        super().__init__()
        self._threshold = threshold
        self._entropy = CrossEntropy(class_weights, label_smoothing)
        self.weighs_classes = self._entropy.weighs_classes

    def weigh(self, pixels_K: Tensor) -> None:
        """Set the weights from the pixels of each class, if they are inverse to its frequency."""
        self._entropy.weigh(pixels_K)

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> Tensor:
        """Return a float32 scalar (float64 for float64 logits). `labels_BHW`: int64 class ids or 255.

        Raises:
            ValueError: there are no soft labels.
        """
        if soft is None:
            raise ValueError("a threshold is for the teacher's probabilities; set teacher.soft.top_k=1")
        is_used_BkHW = soft.classes_BkHW != IGNORE
        highest_BHW = soft.probabilities_BkHW.float().mul(is_used_BkHW).amax(1)
        is_certain_BHW = (highest_BHW >= self._threshold) & is_used_BkHW.any(1)
        is_certain_BHW = resize_labels(is_certain_BHW, labels_BHW.shape[1:])
        total: Tensor = self._entropy(logits_BKHW, labels_BHW.masked_fill(~is_certain_BHW, IGNORE))
        return total
