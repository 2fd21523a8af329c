"""One-cycle learning rate: rises to the optimizer's rate, then falls to almost nothing (Smith and Topin 2018).

Deviation: the rate changes once per epoch, as all schedules do here, and is the curve's value in the middle of the
epoch. The optimizer's momentum stays as it is.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from odkd.common.settings import Fraction


def one_cycle(
    optimizer: Optimizer, num_epochs: int, *, warmup_share: Fraction, first_factor: Fraction, last_factor: Fraction
) -> LambdaLR:
    """Return the schedule; the caller calls `step()` after each epoch.

    Args:
        optimizer: its learning rate is the highest of the cycle.
        num_epochs: length of the cycle; after it the rate stays at its lowest.
        warmup_share: share of the epochs in which the rate rises.
        first_factor: factor of the highest rate where the cycle begins.
        last_factor: factor of the highest rate where the cycle ends.
    """

    def factor(epoch: int) -> float:
        share = min((epoch + 0.5) / num_epochs, 1.0)
        if share < warmup_share:
            return _cosine(first_factor, 1.0, share / warmup_share)
        return _cosine(1.0, last_factor, (share - warmup_share) / (1 - warmup_share) if warmup_share < 1 else 1.0)

    return LambdaLR(optimizer, factor)


def _cosine(start: float, end: float, share: float) -> float:
    """Return the value between start and end on half a cosine wave.

    >>> [_cosine(0.0, 1.0, share) for share in (0, 0.5, 1)]
    [0.0, 0.5, 1.0]
    """
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
