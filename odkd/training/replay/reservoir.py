"""Reservoir replay: every past frame is equally likely to be in the memory (algorithm R, Vitter 1985).

The t-th frame that enters takes the place of a random one with probability capacity/t, so that after t entries each
of them is kept with probability min(1, capacity/t). Not in the released code of Houyon et al. 2023, whose uniform
replay prefers young frames.
"""

from collections.abc import Sequence
from typing import Any

from odkd.common.seeds import named_generator
from odkd.training.replay import Scorer
from odkd.training.replay.draw import check_capacity, draw, draw_below


class Reservoir:
    """At most `capacity` positions, an unbiased sample of all frames that are no longer stream frames."""

    def __init__(self, capacity: int, seed: int) -> None:
        check_capacity(capacity)
        self._capacity = capacity
        self._generator = named_generator(seed, "replay", "reservoir")
        self._num_entered = 0
        self._memory: list[int] = []
        self._stream: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:  # noqa: ARG002
        stream = self._stream[-num_positions:]
        return stream + draw(self._memory, num_positions - len(stream), self._generator)

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:  # noqa: ARG002
        for position in self._stream:
            self._num_entered += 1
            if len(self._memory) < self._capacity:
                self._memory.append(position)
            elif (index := draw_below(self._num_entered, self._generator)) < self._capacity:
                self._memory[index] = position
        self._stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return (*self._memory, *self._stream)

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_entered": self._num_entered,
            "memory": list(self._memory),
            "stream": list(self._stream),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_entered, self._memory, self._stream = (
            state["num_entered"],
            list(state["memory"]),
            list(state["stream"]),
        )
        self._generator.set_state(state["generator"])
