"""Temporal consistency: frames of a batch that follow each other get similar predictions (after Liu et al., ECCV 2020).

    penalty = alpha * mean over pixels of sum over classes of (p(frame) - p(next frame))^2

The temporal loss of Liu et al. (sec. 3.1) warps one of the two predictions with optical flow, and leaves out
pixels that the flow does not explain. There is no network for optical flow here: only pixels count to which the teacher
gives the same class in both frames, where the scene stands still or moves within an object.

Two frames of a batch are compared if their positions differ by at most `max_distance`, each with the next one. So a
batch needs several frames, in the order of the stream: `stage.batch_size=4 stage.order=stream`.
"""

import logging
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.settings import NonNegativeFloat, PositiveInt
from odkd.training.regularizers import Update

logger = logging.getLogger(__name__)


class Temporal:
    """Compares the frames of a batch; remembers nothing.

    Args:
        alpha: weight of the penalty.
        max_distance: largest distance of two frames that are compared, in sampled frames.
    """

    sets_in_after_passes = 0

    def __init__(self, *, alpha: NonNegativeFloat, max_distance: PositiveInt) -> None:
        self._alpha, self._max_distance = alpha, max_distance
        self._has_compared = self._has_warned = False

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        """Return the penalty; None if no two frames of the batch follow each other."""
        pairs = self._pairs(update.positions)
        if not pairs:
            return None
        self._has_compared = True
        first_P, second_P = (list(places) for places in zip(*pairs, strict=True))
        probabilities_BKHW = logits_BKHW.float().softmax(1)
        differences_PHW = (probabilities_BKHW[first_P] - probabilities_BKHW[second_P]).square().sum(1)
        labels_PHW = update.labels_BHW[first_P]
        is_compared_PHW = (labels_PHW == update.labels_BHW[second_P]) & (labels_PHW != IGNORE)
        return self._alpha * (differences_PHW * is_compared_PHW).sum() / is_compared_PHW.sum().clamp(min=1)

    def after_update(self, student: nn.Module, update: Update) -> None:
        """Warn once if no frames could be compared in a whole pass."""
        if update.ends_pass and not self._has_compared and not self._has_warned:
            self._has_warned = True
            advice = "set stage.batch_size=4 stage.order=stream"
            logger.warning("regularizer=temporal compares frames of a batch; here none follow each other: %s", advice)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def _pairs(self, positions: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return the places in the batch of frames that follow each other; a frame may be in a batch twice."""
        ordered = sorted(range(len(positions)), key=lambda place: positions[place])
        return [(a, b) for a, b in pairwise(ordered) if 0 < positions[b] - positions[a] <= self._max_distance]
