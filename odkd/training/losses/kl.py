"""KL divergence from a teacher's probabilities at a temperature (Hinton et al. 2015), given as top-k soft labels."""

import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.settings import PositiveFloat
from odkd.data.labels.soft import SoftLabels
from odkd.training.losses.soft import resize_labels, spread
from odkd.training.losses.weights import at_least_float32


class KlDivergence(nn.Module):
    """T^2 * mean over pixels of KL(teacher at T || softmax(logits / T)), for any number of classes.

    The teacher's distribution at T is p^(1/T), renormalised, which equals softmax(teacher logits / T). Logits and
    labels are resized to the soft labels: logits bilinearly, labels to the pixel under each centre. Pixels that are
    ignored or have no soft label do not count; the loss is 0 if none is left.

    Args:
        temperature: T.
    """

    name = "kl"
    needs_soft_labels = True

    def __init__(self, temperature: PositiveFloat) -> None:
        super().__init__()
        self._temperature = temperature

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> Tensor:
        """Return a float32 scalar (float64 for float64 logits). `labels_BHW`: int64 class ids or 255.

        Raises:
            ValueError: there are no soft labels.
        """
        if soft is None:
            raise ValueError("the KL divergence learns from the teacher's probabilities; set teacher.soft.top_k=3")
        size = soft.classes_BkHW.shape[2:]
        logits_BKHW = at_least_float32(logits_BKHW)
        if logits_BKHW.shape[2:] != size:
            logits_BKHW = F.interpolate(logits_BKHW, size=size, mode="bilinear", align_corners=False)
        counts_BHW = (resize_labels(labels_BHW, size) != IGNORE) & (soft.classes_BkHW != IGNORE).any(1)
        teacher_BKHW = spread(soft, logits_BKHW.shape[1], logits_BKHW.dtype) ** (1 / self._temperature)
        teacher_BKHW = teacher_BKHW / teacher_BKHW.sum(1, keepdim=True)
        student_BKHW = F.log_softmax(logits_BKHW / self._temperature, dim=1)
        divergences_BHW = F.kl_div(student_BKHW, teacher_BKHW, reduction="none").sum(1)
        mean = divergences_BHW.mul(counts_BHW).sum() / counts_BHW.sum().clamp(min=1)
        return self._temperature**2 * mean
