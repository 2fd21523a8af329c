"""How long the parts of a session have taken, in the form of the simulated clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from odkd.training.clock.durations import Durations

NAMES = ("teacher_seconds", "train_seconds", "student_seconds", "down_seconds")


class Measured:
    """Sums of durations and what they are for; a mean is 0 where nothing was measured.

    >>> measured = Measured()
    >>> measured.add("train_seconds", 3.0, of=4)
    >>> measured.durations.train_seconds, measured.durations.teacher_seconds
    (0.75, 0.0)
    """

    def __init__(self) -> None:
        self._sums = dict.fromkeys(NAMES, 0.0)
        self._counts = dict.fromkeys(NAMES, 0)

    def add(self, name: str, seconds: float, *, of: int = 1) -> None:
        """Add the seconds that so many frames, or sets of weights, have taken together."""
        self._sums[name] += seconds
        self._counts[name] += of

    @property
    def durations(self) -> Durations:
        """The mean durations."""
        return Durations(**self._means(*NAMES))

    def of_work(self) -> dict[str, float]:
        """Return the mean durations without the way of weights: on one machine it is the wait for the next frame."""
        return self._means("teacher_seconds", "train_seconds", "student_seconds")

    def _means(self, *names: str) -> dict[str, float]:
        return {name: self._sums[name] / max(1, self._counts[name]) for name in names}

    def record(self) -> dict[str, Any]:
        """Return the mean durations as they are kept with a run."""
        return asdict(self.durations)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
