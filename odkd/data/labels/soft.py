"""Top-k soft labels: the likeliest classes of each pixel and their probabilities, small enough to keep."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def top_k(probabilities_BKHW: Tensor, k: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Classes uint8 [B, k, h, w] and probabilities float32 [B, k, h, w], likeliest first; what is lost, by frame.

    What is lost is the mean over a frame's pixels of what the classes beyond k held.
    """
    values_BKHW, ids_BKHW = probabilities_BKHW.float().topk(k, dim=1)
    lost_B = 1 - values_BKHW.sum(1).mean((1, 2))
    return ids_BKHW.to(torch.uint8).cpu().numpy(), values_BKHW.cpu().numpy(), lost_B.clamp(min=0).tolist()


class SoftLabels(NamedTuple):
    """The k likeliest classes of each pixel, at a size of their own (h x w, the logits' or smaller).

    `classes_BkHW` uint8, 255 for a place that is not used; `probabilities_BkHW` floating point, 0 there. What is left
    to 1 is that of all other classes together. A pixel without a used place teaches nothing.
    """

    classes_BkHW: Tensor
    probabilities_BkHW: Tensor
