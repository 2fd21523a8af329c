"""What networks answer along a stream, and the counts of these answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class Scores:
    """Counts and predictions of a student on n consecutive positions, on the CPU.

    Args:
        confusions: reference -> int64 [n, K, K], one matrix per frame.
        steady: reference -> int64 [n-1, 2], see `metrics.steady_pixels`.
        predictions_NHW: class ids, uint8 [n, H, W].
    """

    confusions: dict[str, Tensor]
    steady: dict[str, Tensor]
    predictions_NHW: np.ndarray


class Answers(NamedTuple):
    """What a network answers at consecutive positions.

    Args:
        network: that predicts.
        positions: at which it is scored.
        shown: the frame that it has seen for each of them; an earlier one where it was too busy to look again.
    """

    network: nn.Module
    positions: Sequence[int]
    shown: Sequence[int]
