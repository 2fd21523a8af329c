"""Metrics of label maps: pure functions of int64 confusion matrices (rows = reference, columns = student)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from odkd.common.ignore import IGNORE


def confusion_matrices(predicted_BHW: Tensor, reference_BHW: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each (reference, predicted) pair, one matrix per frame.

    Args:
        predicted_BHW: integer class ids in 0..K-1.
        reference_BHW: integer class ids in 0..K-1, or 255 for pixels that do not count.
        num_classes: K.

    Returns:
        int64 [B, K, K] on the same device.

    Raises:
        ValueError: a predicted id is not one of K, which would count as another pair. Checked on CPUs only, because it
            would wait for another device; there, `Evaluator` checks the number of logits.
    """
    if is_host(predicted_BHW) and predicted_BHW.numel():
        lowest, highest = (int(limit) for limit in predicted_BHW.aminmax())
        if lowest < 0 or highest >= num_classes:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(
                f"a predicted class id is {wrong}; expected 0 to {num_classes - 1}, the ids of the classes"
            )
    # One row of bins more than classes collects the ignored pixels, which is cheaper than selecting the others.
    num_bins = (num_classes + 1) * num_classes
    # bincount reads int16 2.8 times as fast as int64 (720p, 19 classes, CPU); 180 classes still fit.
    dtype = torch.int16 if num_bins <= torch.iinfo(torch.int16).max else torch.int32
    rows = reference_BHW.to(dtype).clamp(max=num_classes)
    bins_BP = rows.mul_(num_classes).add_(predicted_BHW.to(dtype)).flatten(1)
    return bin_counts(bins_BP, num_bins).view(-1, num_classes + 1, num_classes)[:, :num_classes]


def is_host(tensor: Tensor) -> bool:
    """Return True if reading the tensor waits for no device."""
    return tensor.device.type == "cpu"


def bin_counts(bins_BP: Tensor, num_bins: int) -> Tensor:
    """Count how often each of 0..num_bins-1 occurs in each row, without waiting for a device: int64 [B, num_bins]."""
    return (count_bins if is_host(bins_BP) else count_bins_without_waiting)(bins_BP, num_bins)


def count_bins(bins_BP: Tensor, num_bins: int) -> Tensor:
    """Count how often each of 0..num_bins-1 occurs in each row: int64 [B, num_bins]."""
    return torch.stack([torch.bincount(bins_P, minlength=num_bins) for bins_P in bins_BP])


def count_bins_without_waiting(bins_BP: Tensor, num_bins: int) -> Tensor:
    """Return what `count_bins` does, on devices where `bincount` waits for its result to determine its length."""
    counts = torch.zeros(len(bins_BP), num_bins, dtype=torch.int64, device=bins_BP.device)
    return counts.scatter_add_(1, bins_BP.long(), torch.ones_like(bins_BP, dtype=torch.int64))


def class_iou(confusion: Tensor) -> Tensor:
    """Return the intersection over union of each class: float64 [..., K], NaN for a class in neither map.

    A class that is predicted but not in the reference counts with IoU 0.
    """
    confusion = confusion.double()
    intersection = confusion.diagonal(dim1=-2, dim2=-1)
    union = confusion.sum(-1) + confusion.sum(-2) - intersection
    return intersection / union  # 0/0 is NaN: the class is dropped from means


def mean_iou(confusion: Tensor) -> Tensor:
    """Return the mean IoU over the classes in the reference or the prediction: float64 [...], NaN without any.

    For the sum of all frames' matrices it is the *dataset* mIoU; the average over the frames' own matrices is the *mean
    per-frame* mIoU. The two are different numbers.

    >>> mean_iou(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))  # (3/4 + 4/5) / 2; class 2 is absent
    tensor(0.7750, dtype=torch.float64)
    """
    return class_iou(confusion).nanmean(-1)


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Return the share of scored pixels with the correct class: float64 [...], NaN if no pixel is scored."""
    confusion = confusion.double()
    return confusion.diagonal(dim1=-2, dim2=-1).sum(-1) / confusion.sum((-2, -1))


def class_f1(confusion: Tensor) -> Tensor:
    """Return F1 (Dice) of each class, 2 TP / (2 TP + FP + FN): float64 [..., K], NaN for a class in neither map.

    As with IoU, a class that is predicted but not in the reference counts with 0.
    """
    confusion = confusion.double()
    hits = confusion.diagonal(dim1=-2, dim2=-1)
    return 2 * hits / (confusion.sum(-1) + confusion.sum(-2))


def macro_f1(confusion: Tensor) -> Tensor:
    """Return the mean F1 over the classes in the reference or the prediction: float64 [...], NaN without any.

    It equals scikit-learn's `f1_score(average="macro")` on the pixels.

    >>> macro_f1(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))  # (6/7 + 8/9) / 2; class 2 is absent
    tensor(0.8730, dtype=torch.float64)
    """
    return class_f1(confusion).nanmean(-1)


def weighted_f1(confusion: Tensor) -> Tensor:
    """Return the mean F1 weighted by the pixels of each class in the reference: float64 [...], NaN if none is scored.

    Classes absent from the reference have weight 0, as in scikit-learn's `average="weighted"`.

    >>> weighted_f1(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))  # (4 * 6/7 + 4 * 8/9) / 8
    tensor(0.8730, dtype=torch.float64)
    """
    pixels = confusion.double().sum(-1)
    return (class_f1(confusion).nan_to_num(0) * pixels).sum(-1) / pixels.sum(-1)


def ignore_borders(labels_BHW: Tensor, num_pixels: int) -> Tensor:
    """Return label maps with the pixels near another class set to 255 (ARTHuS: 3 pixels on either side).

    Near means within a square of 2 `num_pixels` + 1 pixels. Ignored pixels form no border with other classes.

    >>> ignore_borders(torch.tensor([[[0, 0, 0, 0, 1, 1, 1]]], dtype=torch.uint8), 2)
    tensor([[[  0,   0, 255, 255, 255, 255,   1]]], dtype=torch.uint8)
    """
    if num_pixels == 0:
        return labels_BHW
    # Maximum and minimum of the neighbourhood without its ignored pixels; they differ where classes meet.
    is_ignored = labels_BHW == IGNORE
    values = labels_BHW.float()
    size = 2 * num_pixels + 1
    highest = F.max_pool2d(values.masked_fill(is_ignored, -1.0), size, stride=1, padding=num_pixels)
    lowest = -F.max_pool2d((-values).masked_fill(is_ignored, -float(IGNORE)), size, stride=1, padding=num_pixels)
    return labels_BHW.masked_fill(highest > lowest, IGNORE)


def steady_pixels(predicted_BHW: Tensor, reference_BHW: Tensor) -> Tensor:
    """Count constant pixels between consecutive frames: int64 [B-1, 2].

    The first count is of the pixels whose reference class stays the same, the second of those among them whose
    predicted class stays the same, too. Pixels that the reference ignores in either frame do not count. The second
    divided by the first is the temporal consistency of the predictions.
    """
    stays = (reference_BHW[1:] == reference_BHW[:-1]) & (reference_BHW[1:] != IGNORE)
    is_steady = stays & (predicted_BHW[1:] == predicted_BHW[:-1])
    return torch.stack([stays.sum((1, 2)), is_steady.sum((1, 2))], 1)
