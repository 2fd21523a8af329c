"""Warm-up: the learning rate rises from nothing to the optimizer's over the first updates (Goyal et al. 2017).

It counts updates, not epochs, so it works along a stream, which has none. Adam's first steps are as large as all later
ones, though their direction comes from few gradients; a warm-up makes them small.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from odkd.common.settings import PositiveInt


class PerUpdate(LambdaLR):
    """A schedule whose `step()` is called after each update in place of each epoch."""


def warmup(optimizer: Optimizer, *, updates: PositiveInt) -> PerUpdate:
    """Return the schedule: update n, counted from 1, has n / `updates` of the learning rate, at most all of it.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule, rates = warmup(optimizer, updates=4), []
    >>> for _ in range(5):
    ...     rates.append(schedule.get_last_lr()[0])
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return PerUpdate(optimizer, lambda done: min((done + 1) / updates, 1.0))
