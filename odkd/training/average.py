"""An exponential moving average (EMA) of a student's weights, which follows it update by update.

    average = decay * average + (1 - decay) * student        (Tarvainen & Valpola 2017, eq. 3)

It begins with the initial weights. Running statistics of batch norms are averaged in the same way; whole numbers, such
as counts of batches, are the student's.
"""

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """A copy of a student in evaluation mode, with the average of its weights.

    Args:
        student: with its initial weights.
        decay: share of the average that an update keeps, 0..1.
        is_saved: it is what the run saves; otherwise that is the student itself.
    """

    def __init__(self, student: nn.Module, decay: float, *, is_saved: bool = True) -> None:
        self.network = copy.deepcopy(student).eval().requires_grad_(False)
        self.is_saved = is_saved
        self._blend = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Follow the student after an update."""
        pairs = list(zip(_tensors(self.network), _tensors(student), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        if floats:
            averages, now = map(list, zip(*floats, strict=True))
            self._blend(averages, now, 0)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of a network."""
    return [tensor.detach() for tensor in itertools.chain(network.parameters(), network.buffers())]
