"""Prioritized replay: frames that the student has learned well are evicted and drawn more often (Houyon et al. 2023).

The importance of a frame is (1/loss)^alpha; its loss is measured when the frame enters the memory. With both exponents
above 0, as released, a frame of low loss is drawn more often and evicted earlier; a negative `selection_alpha` draws
frames of high loss more often.

Losses are measured in eval mode, as in the released code, whose network is still in it after the test of the iteration.

Deviation: if the memory has fewer frames than asked for, the released code replays them in the order of the memory, we
in a random order; it matters only with `stage.order=stream`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odkd.common.settings import NonNegativeFloat, PositiveInt
from odkd.training.replay import Scorer
from odkd.training.replay.draw import draw_weighted
from odkd.training.replay.memory import Memory

SMALLEST_LOSS = 1e-6  # losses below it count as equal: a frame without labelled pixels has loss 0


def importance(losses: Sequence[float], alpha: float) -> Tensor:
    """Return (1/loss)^alpha, not normalised: float64 [N].

    >>> importance([4.0, 1.0, 0.25], alpha=0.5).tolist()
    [0.5, 1.0, 2.0]
    """
    return torch.tensor(losses, dtype=torch.float64).clamp(min=SMALLEST_LOSS).pow(-alpha)


class Prioritized:
    """At most `capacity` positions with their losses.

    Args:
        eviction_alpha: exponent of 1/loss for eviction; 0 = all frames equally likely.
        selection_alpha: exponent of 1/loss for drawing; 0 = all frames equally likely.
        refresh: recompute all losses before each selection.
    """

    def __init__(
        self,
        capacity: PositiveInt,
        seed: int,
        *,
        eviction_alpha: NonNegativeFloat = 0.5,
        selection_alpha: NonNegativeFloat = 0.5,
        refresh: bool = False,
    ) -> None:
        self._capacity, self._refresh = capacity, refresh
        self._eviction_alpha, self._selection_alpha = eviction_alpha, selection_alpha
        self._memory = Memory(seed, "prioritized")
        self._losses: list[float] = []  # of the past positions

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        past = self._memory.past
        if self._refresh and past:
            self._losses = scorer(past).tolist()
        stream = self._memory.newest(num_positions)
        weights_N = importance(self._losses, self._selection_alpha)
        drawn = draw_weighted(weights_N, num_positions - len(stream), self._memory.generator)
        return stream + [past[index] for index in drawn]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        if stream := self._memory.stream:
            for position, loss in zip(stream, scorer(stream).tolist(), strict=True):
                self._store(position, loss)
        self._memory.stream = list(fresh)

    def _store(self, position: int, loss: float) -> None:
        """Add a position; a full memory first evicts another one, drawn without the new position."""
        past = self._memory.past
        if len(past) < self._capacity:
            past.append(position)
            self._losses.append(loss)
        else:
            weights_N = importance(self._losses, self._eviction_alpha)
            index = draw_weighted(weights_N, 1, self._memory.generator)[0]
            past[index], self._losses[index] = position, loss

    def kept(self) -> Sequence[int]:
        return self._memory.kept()

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self._losses), **self._memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._losses = list(state["losses"])
        self._memory.load_state_dict(state)
