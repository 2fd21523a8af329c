"""Scores of label maps: pure functions on int64 confusion matrices (rows = reference, columns = student)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from odkd.common.ignore import IGNORE


def confusion_matrices(predicted_BHW: Tensor, reference_BHW: Tensor, num_classes: int) -> Tensor:
    """Count pixels per (reference, predicted) pair, one matrix a frame.

    Args:
        predicted_BHW: integer class ids in 0..K-1.
        reference_BHW: integer class ids in 0..K-1, or 255 for pixels that do not count.
        num_classes: K.

    Returns:
        int64 [B, K, K] on the same device.
    """
    # One bin row more than classes takes the ignored pixels: cheaper than selecting the others.
    num_bins = (num_classes + 1) * num_classes
    # bincount reads int16 2.8 times as fast as int64 (720p, 19 classes, CPU); 180 classes still fit.
    dtype = torch.int16 if num_bins <= torch.iinfo(torch.int16).max else torch.int32
    rows = reference_BHW.to(dtype).clamp(max=num_classes)
    bins_BP = rows.mul_(num_classes).add_(predicted_BHW.to(dtype)).flatten(1)
    count = count_bins if bins_BP.device.type == "cpu" else count_bins_without_waiting
    return count(bins_BP, num_bins).view(-1, num_classes + 1, num_classes)[:, :num_classes]


def count_bins(bins_BP: Tensor, num_bins: int) -> Tensor:
    """How often each of 0..num_bins-1 occurs in each row: int64 [B, num_bins]."""
    return torch.stack([torch.bincount(bins_P, minlength=num_bins) for bins_P in bins_BP])


def count_bins_without_waiting(bins_BP: Tensor, num_bins: int) -> Tensor:
    """The same, for devices on which `bincount` waits for the result to learn its length."""
    counts = torch.zeros(len(bins_BP), num_bins, dtype=torch.int64, device=bins_BP.device)
    return counts.scatter_add_(1, bins_BP.long(), torch.ones_like(bins_BP, dtype=torch.int64))


def class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class: float64 [..., K], NaN where a class is in neither map.

    A class that is predicted but not in the reference has IoU 0 and counts.
    """
    confusion = confusion.double()
    intersection = confusion.diagonal(dim1=-2, dim2=-1)
    union = confusion.sum(-1) + confusion.sum(-2) - intersection
    return intersection / union  # 0/0 is NaN: the class is dropped from means


def mean_iou(confusion: Tensor) -> Tensor:
    """Mean IoU over the classes that the reference or the student has: float64 [...], NaN when there is none.

    On the sum of all frames' matrices this is *dataset* mIoU; on each frame's own matrix, averaged after,
    it is *mean per-frame* mIoU. The two are different numbers.

    >>> mean_iou(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))  # (3/4 + 4/5) / 2; class 2 is absent
    tensor(0.7750, dtype=torch.float64)
    """
    return class_iou(confusion).nanmean(-1)


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Share of scored pixels whose class is right: float64 [...], NaN when no pixel is scored."""
    confusion = confusion.double()
    return confusion.diagonal(dim1=-2, dim2=-1).sum(-1) / confusion.sum((-2, -1))


def class_f1(confusion: Tensor) -> Tensor:
    """F1 (Dice) of each class, 2 TP / (2 TP + FP + FN): float64 [..., K], NaN where a class is in neither map.

    As with IoU, a class that is predicted but not in the reference has 0 and counts.
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    return 2 * hits / (confusion.sum(-1) + confusion.sum(-2))


def macro_f1(confusion: Tensor) -> Tensor:
    """Plain mean of F1 over the classes that the reference or the student has: float64 [...], NaN without any.

    What scikit-learn's `f1_score(average="macro")` gives for the pixels themselves.

    >>> macro_f1(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))  # (6/7 + 8/9) / 2; class 2 is absent
    tensor(0.8730, dtype=torch.float64)
    """
    return class_f1(confusion).nanmean(-1)


def weighted_f1(confusion: Tensor) -> Tensor:
    """Mean of F1 weighted by the pixels of each class in the reference: float64 [...], NaN when no pixel is scored.

    Classes that the reference lacks have weight 0, as in scikit-learn's `average="weighted"`.

    >>> weighted_f1(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))  # (4 * 6/7 + 4 * 8/9) / 8
    tensor(0.8730, dtype=torch.float64)
    """
    pixels = confusion.double().sum(-1)
    return (class_f1(confusion).nan_to_num(0) * pixels).sum(-1) / pixels.sum(-1)


def ignore_borders(labels_BHW: Tensor, num_pixels: int) -> Tensor:
    """Label maps whose pixels within `num_pixels` of another class are set to 255 (ARTHuS: inner and outer 3 px).

    Near means in a square of 2 `num_pixels` + 1 pixels; a pixel that is ignored already makes no border.

    >>> ignore_borders(torch.tensor([[[0, 0, 0, 0, 1, 1, 1]]], dtype=torch.uint8), 2)
    tensor([[[  0,   0, 255, 255, 255, 255,   1]]], dtype=torch.uint8)
    """
    if num_pixels == 0:
        return labels_BHW
    # Maximum and minimum of the neighbourhood, ignored pixels left out: they differ where classes meet.
    is_ignored = labels_BHW == IGNORE
    values = labels_BHW.float()
    size = 2 * num_pixels + 1
    highest = F.max_pool2d(values.masked_fill(is_ignored, -1.0), size, stride=1, padding=num_pixels)
    lowest = -F.max_pool2d((-values).masked_fill(is_ignored, -float(IGNORE)), size, stride=1, padding=num_pixels)
    return labels_BHW.masked_fill(highest > lowest, IGNORE)


def steady_pixels(predicted_BHW: Tensor, reference_BHW: Tensor) -> Tensor:
    """For each two frames in a row: int64 [B-1, 2], pixels whose reference class stays, and of these those whose
    predicted class stays too. Pixels that the reference ignores in either frame do not count.

    The second over the first is the temporal consistency of the predictions: what should stand still does.
    """
    stays = (reference_BHW[1:] == reference_BHW[:-1]) & (reference_BHW[1:] != IGNORE)
    is_steady = stays & (predicted_BHW[1:] == predicted_BHW[:-1])
    return torch.stack([stays.sum((1, 2)), is_steady.sum((1, 2))], 1)
