"""Prioritized replay: frames that the student has learned well are dropped, and drawn, more often (Houyon et al. 2023).

The importance of a frame is (1/loss)^alpha, its loss measured when it enters the memory. With both exponents above 0,
as released, a frame of low loss is drawn more often and leaves earlier; a negative `selection_alpha` draws frames of
high loss more often.

Deviation: the released code measures losses with dropout on; we measure in eval mode, so that asking draws no numbers.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odkd.common.seeds import named_generator
from odkd.training.replay import Scorer
from odkd.training.replay.draw import check_capacity, draw_weighted

SMALLEST_LOSS = 1e-6  # below it losses count as equal: a frame without labelled pixels has loss 0


def importance(losses: Sequence[float], alpha: float) -> Tensor:
    """(1/loss)^alpha, not normalised: float64 [N].

    >>> importance([4.0, 1.0, 0.25], alpha=0.5).tolist()
    [0.5, 1.0, 2.0]
    """
    return torch.tensor(losses, dtype=torch.float64).clamp(min=SMALLEST_LOSS).pow(-alpha)


class Prioritized:
    """At most `capacity` positions with their losses; `refresh` measures all of them anew before each selection."""

    def __init__(
        self,
        capacity: int,
        seed: int,
        *,
        eviction_alpha: float = 0.5,
        selection_alpha: float = 0.5,
        refresh: bool = False,
    ) -> None:
        check_capacity(capacity)
        for name, alpha in (("eviction_alpha", eviction_alpha), ("selection_alpha", selection_alpha)):
            if not math.isfinite(alpha):
                raise ValueError(f"replay.{name}={alpha}; expected a finite number (0: all frames alike)")
        self._capacity, self._refresh = capacity, refresh
        self._eviction_alpha, self._selection_alpha = eviction_alpha, selection_alpha
        self._generator = named_generator(seed, "replay", "prioritized")
        self._memory: list[int] = []
        self._losses: list[float] = []  # of the memory
        self._stream: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        if self._refresh and self._memory:
            self._losses = scorer(self._memory).tolist()
        stream = self._stream[-num_positions:]
        weights_N = importance(self._losses, self._selection_alpha)
        drawn = draw_weighted(weights_N, num_positions - len(stream), self._generator)
        return stream + [self._memory[index] for index in drawn]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        if self._stream:
            for position, loss in zip(self._stream, scorer(self._stream).tolist(), strict=True):
                self._store(position, loss)
        self._stream = list(fresh)

    def _store(self, position: int, loss: float) -> None:
        """The newcomer does not take part in the draw of who leaves."""
        if len(self._memory) < self._capacity:
            self._memory.append(position)
            self._losses.append(loss)
        else:
            index = draw_weighted(importance(self._losses, self._eviction_alpha), 1, self._generator)[0]
            self._memory[index], self._losses[index] = position, loss

    def kept(self) -> Sequence[int]:
        return (*self._memory, *self._stream)

    def state_dict(self) -> dict[str, Any]:
        return {
            "memory": list(self._memory),
            "losses": list(self._losses),
            "stream": list(self._stream),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory, self._losses, self._stream = list(state["memory"]), list(state["losses"]), list(state["stream"])
        self._generator.set_state(state["generator"])
