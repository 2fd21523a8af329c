"""Top-k soft labels: the k likeliest classes of each pixel and their probabilities, small enough to store."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def top_k(probabilities_BKHW: Tensor, k: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Return classes uint8 [B, k, h, w], probabilities float32 [B, k, h, w], and the probability lost per frame.

    Classes are sorted by probability, likeliest first. The lost probability is that of the classes beyond the k
    likeliest, averaged over the pixels of a frame.
    """
    values_BKHW, ids_BKHW = probabilities_BKHW.float().topk(k, dim=1)
    lost_B = 1 - values_BKHW.sum(1).mean((1, 2))
    return ids_BKHW.to(torch.uint8).cpu().numpy(), values_BKHW.cpu().numpy(), lost_B.clamp(min=0).tolist()


class SoftLabels(NamedTuple):
    """The k likeliest classes of each pixel, at their own size (h x w, that of the logits or smaller).

    `classes_BkHW` is uint8, 255 in an unused place; `probabilities_BkHW` is floating point, 0 there. The remainder to
    1 belongs to all other classes together. A pixel without a used place is not learned from.
    """

    classes_BkHW: Tensor
    probabilities_BkHW: Tensor
