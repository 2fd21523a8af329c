"""Replay: which past frames the student learns from; the protocol of replay memories and of what they may ask.

A replay is any object with the members of `Replay`; each has one file and one YAML (`fifo.py` is the simplest).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Scorer(Protocol):
    """Access to the losses of the current student, and to labels; calling it changes nothing."""

    def __call__(self, positions: Sequence[int]) -> Tensor:
        """Return the student's mean cross-entropy on each position, in eval mode: float32 [n], on the CPU."""

    def pixels(self, positions: Sequence[int]) -> Tensor:
        """Return the labelled pixels of each class in each position's training labels: int64 [n, K], on the CPU."""

    def after_learning(self, positions: Sequence[int], *, learning_rate: float | None = None) -> "Scorer":
        """Return the scorer of a copy of the student that has learned one pass over `positions`.

        Args:
            learning_rate: of the copy's optimizer, which is a copy too, state included; None = that of the original.
        """


class Replay(Protocol):
    """A replay memory. It keeps positions, never images or networks, and draws from its own random generator."""

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        """Return the positions to learn from now, in the order of learning: at most `num_positions`, none twice."""

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        """Take the positions that are past since the last call, oldest first: the stream frames of the next `select`.

        Each position is passed once.
        """

    def kept(self) -> Sequence[int]:
        """Return the positions that a later `select` may return; their frames stay on the device."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later `select` depends on, as plain numbers, lists and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state_dict()`."""
