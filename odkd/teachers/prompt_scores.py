"""From the scores of prompts to classes: label maps, and each class's share of a pixel's scores."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.ignore import IGNORE
from odkd.teachers.class_scores import shares_of, to_numpy
from odkd.teachers.prompts import Prompts

LEAST = 1e-6  # score of "*" where every score above 0 counts


def labels_of(scores_PHW: torch.Tensor, prompts: Prompts, threshold: float) -> np.ndarray:
    """Return the class of the prompt with the highest score, uint8 [H, W]; "*" where none is above `threshold`."""
    best_HW, prompts_HW = scores_PHW.max(0)
    ids_P = torch.tensor(prompts.ids, device=scores_PHW.device)
    return to_numpy(torch.where(best_HW > threshold, ids_P[prompts_HW], prompts.rest))


def label_all(scores: Iterable[torch.Tensor], prompts: Prompts, threshold: float) -> np.ndarray:
    """Return label maps uint8 [B, H, W] of frames, from the scores [P, H, W] of each."""
    return np.stack([labels_of(scores_PHW, prompts, threshold) for scores_PHW in scores])


def label_all_softly(
    scores: Iterable[torch.Tensor], prompts: Prompts, threshold: float, size: tuple[int, int]
) -> tuple[np.ndarray, torch.Tensor]:
    """Return label maps uint8 [B, H, W] of frames, and soft labels float32 [B, K, h, w] of `size`."""
    labels, probabilities = [], []
    for scores_PHW in scores:
        labels.append(labels_of(scores_PHW, prompts, threshold))
        probabilities.append(soft_labels_of(scores_PHW, prompts, threshold, size))
    return np.stack(labels), torch.stack(probabilities)


def soft_labels_of(scores_PHW: torch.Tensor, prompts: Prompts, threshold: float, size: tuple[int, int]) -> torch.Tensor:
    """Return each class's share of a pixel's scores, averaged over the pixels of each of `size`, float32 [K, h, w].

    The score of a class is the highest of its prompts'; that of "*" is the threshold, so that shares and labels agree.
    """
    scores_KHW = scores_PHW.new_zeros(len(prompts.classes), *scores_PHW.shape[1:])
    for number, scores_HW in zip(prompts.ids, scores_PHW, strict=True):
        if number != IGNORE:
            scores_KHW[number] = torch.maximum(scores_KHW[number], scores_HW)
    if prompts.rest != IGNORE:
        scores_KHW[prompts.rest].clamp_(min=max(threshold, LEAST))
    return F.adaptive_avg_pool2d(shares_of(scores_KHW), size)
