"""Logits at another size, and the class of each pixel there, also of pictures whose logits do not fit into memory."""

import torch
import torch.nn.functional as F
from torch import Tensor

from odkd.common.argmax import largest_class

MOST_VALUES = 2**26  # logits enlarged at once, in 4 bytes each; the choice of the class takes as much again


def at_size(logits_BKHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return logits resized bilinearly to `size` = (height, width); unchanged if they have it."""
    if logits_BKHW.shape[2:] == size:
        return logits_BKHW
    return F.interpolate(logits_BKHW.float(), size, mode="bilinear")


def classes_at_size(logits_BKHW: Tensor, size: tuple[int, int], *, most_values: int = MOST_VALUES) -> Tensor:
    """Return the class with the largest logit, uint8 [B, *size], after the logits have been resized to `size`.

    Args:
        logits_BKHW: of any memory layout.
        size: (height, width).
        most_values: logits that may be in memory at that size; if there are more, images go one by one, and if those of
            one image are more, classes do. Then a pixel may have another class where the two largest logits differ by
            no more than the rounding of torch's kernels, which is not the same in all memory layouts.
    """
    one = logits_BKHW.shape[1] * size[0] * size[1]
    if logits_BKHW.shape[2:] == size or len(logits_BKHW) * one <= most_values:
        return largest_class(at_size(logits_BKHW, size))
    if one <= most_values:
        return torch.cat([largest_class(at_size(logits_1KHW, size)) for logits_1KHW in torch.split(logits_BKHW, 1)])
    return torch.cat([_class_by_class(logits_1KHW, size) for logits_1KHW in torch.split(logits_BKHW, 1)])


def _class_by_class(logits_1KHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the class with the largest logit, uint8 [1, *size], as `largest_class`: of equals the first."""
    planes = (at_size(plane_11HW.contiguous(), size)[:, 0] for plane_11HW in torch.split(logits_1KHW, 1, dim=1))
    largest_1HW = next(planes)
    classes_1HW = torch.zeros_like(largest_1HW, dtype=torch.uint8)
    for number, plane_1HW in enumerate(planes, 1):
        is_larger_1HW = (plane_1HW > largest_1HW) | (plane_1HW.isnan() & ~largest_1HW.isnan())
        classes_1HW[is_larger_1HW] = number
        largest_1HW = torch.where(is_larger_1HW, plane_1HW, largest_1HW)
    return classes_1HW
