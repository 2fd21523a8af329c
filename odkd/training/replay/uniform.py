"""Uniform replay: the stream frames and random frames of a memory of the past (Houyon et al. 2023).

A frame that enters the full memory replaces a random one. So a frame survives the next a entries with probability
(1 - 1/capacity)^a: its expected life is `capacity` entries, and young frames are more likely in memory than old ones.

Deviation: if the memory has fewer frames than asked for, the released code replays them in the order of the memory, we
in a random order; it matters only with `stage.order=stream`.
"""

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import PositiveInt
from odkd.training.replay import Scorer
from odkd.training.replay.draw import draw
from odkd.training.replay.memory import Memory


class Uniform:
    """At most `capacity` positions; all are equally likely to be evicted and to be drawn."""

    def __init__(self, capacity: PositiveInt, seed: int) -> None:
        self._capacity = capacity
        self._memory = Memory(seed, "uniform")

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        stream = self._memory.newest(num_positions)
        return stream + draw(self._memory.past, num_positions - len(stream), self._memory.generator)

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        self._memory.store_at_random(self._capacity)
        self._memory.stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return self._memory.kept()

    def state_dict(self) -> dict[str, Any]:
        return self._memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory.load_state_dict(state)
