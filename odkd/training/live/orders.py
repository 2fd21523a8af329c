"""What the answering process tells the trainer, and what it hears from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """A training that is to begin.

    Args:
        number: of the training.
        arrived: sampled frames that have come by now.
        pace: the state of the pace.
    """

    number: int
    arrived: int
    pace: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A training that is complete.

    Args:
        number: of the training.
        num_learned: frames in its updates, each as often as it is in one.
        num_updates: made.
        buffer: with the new weights; None if the student has not changed, or there was no place.
        is_enough: the pace's goal is reached.
        ready: its new frames, which the pace was asked about; None if it was not asked.
        answers: what the pace was told last of the student's IoU, by frame.
        metrics: losses, and what an update has changed.
        began, ended: on the machine's monotonic clock.
        num_dropped: labelled frames for which the trainer has had no place so far.
    """

    number: int
    num_learned: int
    num_updates: int
    buffer: int | None
    is_enough: bool
    ready: tuple[int, ...] | None
    answers: Mapping[int, float]
    metrics: Mapping[str, float]
    began: float
    ended: float
    num_dropped: int
