"""Soft Dice loss: overlap per class, so that small classes count as much as large ones (Milletari et al. 2016).

Deviation: the denominator has probabilities, not their squares (Sudre et al. 2017), and classes absent from the
batch's labels do not count: their overlap is 0 for any prediction. The reference code of MCKD for segmentation counts
them: each adds its loss of 1 and almost no gradient to a mean over all K classes. With n classes in the labels its
gradient is n/K of ours, and Dice weighs less beside the other losses: `absent="counted"`, part of loss=mckd_released.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.training.losses.weights import at_least_float32

SMOOTH = 1e-7  # reference code of MCKD: a class in neither map has a score of 1


class Dice(nn.Module):
    """1 - the mean over classes of 2 sum(p y) / (sum(p) + sum(y)), with sums over all labelled pixels of the batch.

    p is the student's probability of the class; y is 1 if the pixel has the class, else 0. The mean is over the
    classes that occur in the labels. The loss is 0 for a batch without labelled pixels.

    Args:
        absent: classes that do not occur: "left_out", or "counted": the mean is over all classes, and numerator and
            denominator have 1e-7 added, as in the reference code of MCKD.
    """

    name = "dice"

    def __init__(self, absent: Literal["left_out", "counted"] = "left_out") -> None:
        super().__init__()
        self._counts_absent = absent == "counted"

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Return a float32 scalar (float64 for float64 logits). `labels_BHW`: int64 class ids or 255."""
        probabilities_BKHW = at_least_float32(logits_BKHW).softmax(1)
        classes_K = torch.arange(logits_BKHW.shape[1], device=logits_BKHW.device)
        is_class_BKHW = labels_BHW[:, None] == classes_K[:, None, None]
        is_labelled_B1HW = (labels_BHW != IGNORE)[:, None]
        overlap_K = probabilities_BKHW.mul(is_class_BKHW).sum((0, 2, 3))
        predicted_K = probabilities_BKHW.mul(is_labelled_B1HW).sum((0, 2, 3))
        labelled_K = is_class_BKHW.sum((0, 2, 3))
        if self._counts_absent:
            scores_K = (2 * overlap_K + SMOOTH) / (predicted_K + labelled_K + SMOOTH)
            return (1 - scores_K).mean() * is_labelled_B1HW.any()
        occurs_K = labelled_K > 0
        losses_K = 1 - 2 * overlap_K / (predicted_K + labelled_K.clamp(min=1))
        return losses_K.mul(occurs_K).sum() / occurs_K.sum().clamp(min=1)
