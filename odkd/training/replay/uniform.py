"""Uniform replay: the stream frames, and as many random ones from a memory of the past (Houyon et al. 2023).

A frame that enters the full memory takes the place of a random one, so that a frame outlives the next a entries
with probability (1 - 1/capacity)^a: an expected life of `capacity` entries, young frames more likely than old ones.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from odkd.common.seeds import named_generator
from odkd.training.replay import Scorer
from odkd.training.replay.draw import check_capacity, draw, draw_below


class Uniform:
    """At most `capacity` positions, kept and drawn without regard to what they show."""

    def __init__(self, capacity: int, seed: int) -> None:
        check_capacity(capacity)
        self._capacity = capacity
        self._generator = named_generator(seed, "replay", "uniform")
        self._memory: list[int] = []
        self._stream: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:  # noqa: ARG002
        stream = self._stream[-num_positions:]
        return stream + draw(self._memory, num_positions - len(stream), self._generator)

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:  # noqa: ARG002
        store_at_random(self._stream, self._memory, self._capacity, self._generator)
        self._stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return (*self._memory, *self._stream)

    def state_dict(self) -> dict[str, Any]:
        return {"memory": list(self._memory), "stream": list(self._stream), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory, self._stream = list(state["memory"]), list(state["stream"])
        self._generator.set_state(state["generator"])


def store_at_random(entering: Iterable[int], memory: list[int], capacity: int, generator: torch.Generator) -> None:
    """Put each of `entering` into `memory`: at its end, or once that is full in the place of a random element."""
    for position in entering:
        if len(memory) < capacity:
            memory.append(position)
        else:
            memory[draw_below(capacity, generator)] = position
