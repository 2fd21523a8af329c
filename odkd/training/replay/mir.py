"""Maximally interfered retrieval: replay the frames whose loss the stream would raise most (MIR, Aljundi et al. 2019).

Of random candidates c from the memory, those of the largest interference
s(c) = loss(c; student after a virtual pass over the stream frames) - loss(c; student now) are replayed.

Deviation: the virtual pass continues from a copy of the student's own optimizer, including its moments. The released
code of Houyon et al. 2023 creates a new Adam for the copy but then steps that of the student. So the copy never
changes, and its interference is the noise of dropout, which is on for the copy and off for the student: the choice is
random, and `virtual_learning_rate=0` has that law. With torch < 2, where gradients are zeroed and not removed, these
steps also move the student along Adam's momentum, once per stream frame. With torch >= 2 they do nothing, and neither
do ours. That code also replays its complete memory while it is smaller than `candidates`; we never select more
positions than asked for. If the memory has fewer, it sorts them by interference; we replay them in a random order.
"""

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import NonNegativeFloat, PositiveInt
from odkd.data.window import Window
from odkd.training.replay import Scorer
from odkd.training.replay.draw import draw
from odkd.training.replay.memory import Memory


class Mir:
    """At most `capacity` positions, stored as in uniform replay and drawn by interference.

    Args:
        candidates: random positions that are compared; at least the number replayed is taken.
        virtual_learning_rate: of the virtual pass; None = the optimizer's own, 0 = choose at random.
        window: of the run, to check that more candidates are compared than are replayed.

    Raises:
        ValueError: all candidates would be replayed.
    """

    def __init__(
        self,
        capacity: PositiveInt,
        seed: int,
        *,
        candidates: PositiveInt = 150,
        virtual_learning_rate: NonNegativeFloat | None = None,
        window: Window | None = None,
    ) -> None:
        num_replayed = 0 if window is None else window.learn - window.step
        if candidates <= num_replayed:
            raise ValueError(
                f"replay.candidates={candidates} leaves no choice: window.learn - window.step = {num_replayed} of them "
                "are replayed; set it to a multiple of that"
            )
        self._capacity, self._candidates = capacity, candidates
        self._virtual_learning_rate = virtual_learning_rate
        self._memory = Memory(seed, "mir")

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        stream = self._memory.newest(num_positions)
        num_replayed = num_positions - len(stream)
        candidates = draw(self._memory.past, max(self._candidates, num_replayed), self._memory.generator)
        copy_changes = bool(stream) and self._virtual_learning_rate != 0
        if copy_changes and 0 < num_replayed < len(candidates):
            candidates = self._by_interference(candidates, stream, scorer)
        return stream + candidates[:num_replayed]

    def _by_interference(self, candidates: list[int], stream: Sequence[int], scorer: Scorer) -> list[int]:
        """Sort by interference, largest first; ties stay in the random order of `candidates`."""
        later = scorer.after_learning(stream, learning_rate=self._virtual_learning_rate)
        interference_N = later(candidates) - scorer(candidates)
        return [candidates[index] for index in interference_N.argsort(descending=True, stable=True).tolist()]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        self._memory.store_at_random(self._capacity)
        self._memory.stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return self._memory.kept()

    def state_dict(self) -> dict[str, Any]:
        return self._memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory.load_state_dict(state)
