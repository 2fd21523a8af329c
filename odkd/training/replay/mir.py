"""Maximally interfered retrieval: replay what learning from the stream would spoil most (MIR, Aljundi et al. 2019).

Of random candidates c from the memory, those of the largest interference
s(c) = loss(c; student after a virtual pass over the stream frames) - loss(c; student now) are replayed.

Deviation: the virtual pass goes on from a copy of the student's own optimizer, its moments included. The released code
of Houyon et al. 2023 makes a fresh Adam for the copy and then steps another one, so that the copy never moves and the
choice is random: `virtual_learning_rate=0` has that law. Losses are measured in eval mode, there with dropout on. While
its memory is smaller than `candidates` it replays all of it; we never select more than was asked for.
"""

import math
from collections.abc import Sequence
from typing import Any

from odkd.common.seeds import named_generator
from odkd.training.replay import Scorer
from odkd.training.replay.draw import check_capacity, draw
from odkd.training.replay.uniform import store_at_random


class Mir:
    """At most `capacity` positions, kept as uniform replay keeps them, drawn by interference."""

    def __init__(
        self, capacity: int, seed: int, *, candidates: int = 150, virtual_learning_rate: float | None = None
    ) -> None:
        check_capacity(capacity)
        if candidates < 1:
            raise ValueError(f"replay.candidates={candidates}; expected at least 1 position to choose among")
        rate = virtual_learning_rate
        if rate is not None and not (math.isfinite(rate) and rate >= 0):
            raise ValueError(
                f"replay.virtual_learning_rate={rate}; expected null (the student's own), 0 (chooses at random, "
                "as the released code does) or a number above"
            )
        self._capacity, self._candidates, self._virtual_learning_rate = capacity, candidates, rate
        self._generator = named_generator(seed, "replay", "mir")
        self._memory: list[int] = []
        self._stream: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        stream = self._stream[-num_positions:]
        num_replayed = num_positions - len(stream)
        candidates = draw(self._memory, max(self._candidates, num_replayed), self._generator)
        moves = bool(stream) and self._virtual_learning_rate != 0
        if moves and 0 < num_replayed < len(candidates):
            candidates = self._by_interference(candidates, stream, scorer)
        return stream + candidates[:num_replayed]

    def _by_interference(self, candidates: list[int], stream: Sequence[int], scorer: Scorer) -> list[int]:
        """Largest first; equals stay in the candidates' random order."""
        later = scorer.after_learning(stream, learning_rate=self._virtual_learning_rate)
        interference_N = later(candidates) - scorer(candidates)
        return [candidates[index] for index in interference_N.argsort(descending=True, stable=True).tolist()]

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
