"""Conversions for losses: soft labels to the probabilities of all classes, label maps to another size."""

import torch
from torch import Tensor

from odkd.common.ignore import IGNORE
from odkd.data.labels import under_centres
from odkd.data.labels.soft import SoftLabels


def spread(soft: SoftLabels, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return probabilities [B, K, h, w]; the classes outside the top k share the remaining probability evenly.

    A pixel without a soft label gets the uniform distribution.

    >>> soft = SoftLabels(torch.tensor([[[[2]]]], dtype=torch.uint8), torch.tensor([[[[0.5]]]]))
    >>> spread(soft, 3).flatten().tolist()
    [0.25, 0.25, 0.5]
    """
    ids_BkHW, shares_BkHW = soft.classes_BkHW.long(), soft.probabilities_BkHW.to(dtype)
    is_used_BkHW = ids_BkHW != IGNORE
    shares_BkHW = shares_BkHW * is_used_BkHW
    num_others_B1HW = num_classes - is_used_BkHW.sum(1, keepdim=True)
    # Stored values are rounded, so that their sum may exceed 1.
    rest_B1HW = (1 - shares_BkHW.sum(1, keepdim=True)).clamp(min=0) / num_others_B1HW.clamp(min=1)
    batch_size, _, height, width = ids_BkHW.shape
    # One class more than K collects the unused places.
    filled_BKHW = rest_B1HW.expand(batch_size, num_classes + 1, height, width).contiguous()
    return filled_BKHW.scatter(1, ids_BkHW.clamp(max=num_classes), shares_BkHW)[:, :num_classes]


def resize_labels(labels_BHW: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return int64 labels at `size` = (height, width): each pixel takes the label under its centre.

    >>> resize_labels(torch.tensor([[[0, 1, 2, 3]]]), (1, 2))
    tensor([[[1, 3]]])
    """
    if labels_BHW.shape[1:] == size:
        return labels_BHW
    rows, columns = (
        under_centres(torch.arange(new, device=labels_BHW.device), old, new)
        for old, new in zip(labels_BHW.shape[1:], size, strict=True)
    )
    return labels_BHW[:, rows[:, None], columns]
