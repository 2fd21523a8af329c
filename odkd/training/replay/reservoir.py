"""Reservoir replay: every past frame is equally likely to be in the memory (algorithm R, Vitter 1985).

The t-th frame that enters replaces a random one with probability capacity/t, so that after t entries each of them is
in the memory with probability min(1, capacity/t). The released code of Houyon et al. 2023 does not have this method;
its uniform replay prefers young frames.
"""

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import PositiveInt
from odkd.training.replay import Scorer
from odkd.training.replay.draw import draw, draw_below
from odkd.training.replay.memory import Memory


class Reservoir:
    """At most `capacity` positions: an unbiased sample of all frames that are no longer stream frames."""

    def __init__(self, capacity: PositiveInt, seed: int) -> None:
        self._capacity = capacity
        self._num_entered = 0
        self._memory = Memory(seed, "reservoir")

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        stream = self._memory.newest(num_positions)
        return stream + draw(self._memory.past, num_positions - len(stream), self._memory.generator)

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        past = self._memory.past
        for position in self._memory.stream:
            self._num_entered += 1
            if len(past) < self._capacity:
                past.append(position)
            elif (index := draw_below(self._num_entered, self._memory.generator)) < self._capacity:
                past[index] = position
        self._memory.stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return self._memory.kept()

    def state_dict(self) -> dict[str, Any]:
        return {"num_entered": self._num_entered, **self._memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_entered = state["num_entered"]
        self._memory.load_state_dict(state)
