"""Scores of classes as networks of transformers give them: checked, as probabilities, as label maps."""

import numpy as np
import torch

from odkd.common.names import counted
from odkd.teachers import refuse_nan


def check_scores(scores_KHW: torch.Tensor, num_classes: int) -> None:
    """Check the scores of a frame.

    Raises:
        ValueError: they are not those of so many classes, or some are NaN.
    """
    if len(scores_KHW) != num_classes:
        raise ValueError(f"the network has {counted(len(scores_KHW), 'class')}, its config.json names {num_classes}")
    refuse_nan(scores_KHW, "the network of teacher.model")


def shares_of(scores_KHW: torch.Tensor) -> torch.Tensor:
    """Return scores of at least 0, float32 [K, H, W], divided by their sum; without a score, all classes are equal."""
    scores_KHW = scores_KHW + torch.finfo(torch.float32).tiny
    return scores_KHW / scores_KHW.sum(0)


def to_numpy(label_HW: torch.Tensor) -> np.ndarray:
    """Return a label map as uint8 [H, W]."""
    array: np.ndarray = label_HW.to(torch.uint8).cpu().numpy()
    return array
