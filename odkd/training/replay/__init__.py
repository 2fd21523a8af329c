"""What the student learns from: replay memories keep positions of past frames and choose among them.

A replay is any object with these members (see `fifo.py` for the plainest); one file and one YAML each.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Scorer(Protocol):
    """What a replay may ask about the current student; asking changes nothing."""

    def __call__(self, positions: Sequence[int]) -> Tensor:
        """Mean cross-entropy of the student on each position, in eval mode: float32 [n], on the CPU."""

    def after_learning(self, positions: Sequence[int], *, learning_rate: float | None = None) -> "Scorer":
        """The scorer of a copy of the student that has learned one pass over `positions`.

        The copy's optimizer is a copy too, state included; `learning_rate` takes the place of its own if given.
        """


class Replay(Protocol):
    """Keeps positions, never pictures or networks; random choices draw from a generator of its own."""

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        """Positions to learn from now, in the order in which to learn: at most `num_positions`, none twice."""

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        """Positions that have just gone by, oldest first, each seen once: the stream frames of the next `select`."""

    def kept(self) -> Sequence[int]:
        """Positions that a later `select` may return: these stay on the device."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later `select` depends on, as plain numbers, lists and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
