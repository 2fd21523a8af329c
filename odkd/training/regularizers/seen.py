"""Sets of classes that occur in label maps, as bool [K] on the device, computed without waiting for it."""

import torch
from torch import Tensor

from odkd.common.ignore import IGNORE

# Used as minus infinity among float32 logits: its softmax is exactly 0, and 0 times it is not NaN.
MASKED = -1e9


def classes_in(labels_BHW: Tensor, num_classes: int) -> Tensor:
    """Return bool [K]: True for each class that a pixel of int64 `labels_BHW` (class ids or 255) has.

    >>> classes_in(torch.tensor([[[0, 2], [255, 2]]]), 4).tolist()
    [True, False, True, False]
    """
    occurs = torch.zeros(IGNORE + 1, dtype=torch.bool, device=labels_BHW.device)
    return occurs.index_fill_(0, labels_BHW.flatten(), True)[:num_classes]


def to_list(is_class_K: Tensor) -> list[int]:
    """Return the class ids of a bool [K], ascending."""
    found: list[int] = is_class_K.nonzero().flatten().tolist()
    return found


def from_list(class_ids: list[int], num_classes: int, device: torch.device) -> Tensor:
    """Return the bool [K] of class ids."""
    is_class_K = torch.zeros(num_classes, dtype=torch.bool)
    is_class_K[class_ids] = True
    return is_class_K.to(device)
