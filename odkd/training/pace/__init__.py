"""The pace of a run: which frames the teacher sees, and when and how much the student trains.

A pace is any object with the members of `Pace`; each has one file and one YAML (`fixed.py` is the plainest). From which
frames is learned is up to the replay memory. A pace decides from numbers alone; a `Sight` measures them.
"""

from collections.abc import Sequence
from typing import Any, Protocol


class Sight(Protocol):
    """What a pace may ask about frames; asking changes nothing."""

    def student_iou(self, position: int) -> float:
        """Return the smallest IoU, over the classes of its label, of the student in training on a labelled frame."""

    def agreement(self, before: int, after: int) -> float:
        """Return the mIoU of one label against another, over the classes of either."""

    def has_label(self, position: int) -> bool:
        """Return whether a label of the frame can be had, with a pixel that counts; of a recording, some have none."""

    def confidence(self, position: int) -> float:
        """Return the mean over the pixels of the largest probability that the deployed student gives a class."""


class Pace(Protocol):
    """When something is done. Seconds are those since the first frame of the stream that may be learned from.

    `max_updates` is the most updates of a training; None = the stage's passes over the selected frames.
    """

    @property
    def max_updates(self) -> int | None: ...

    def is_due(self, seconds: float, *, is_step: bool) -> bool:
        """Return whether a training is due, before the next frame arrives; `is_step`: a step of the window begins."""

    def sends(self, position: int, seconds: float, sight: Sight) -> bool:
        """Return whether the teacher is to see the frame that arrives; asked once for each, in order."""

    def labelled(self, position: int, seconds: float, sight: Sight) -> bool:
        """Take note that a label has come; return whether a training is due now."""

    def is_enough(self, positions: Sequence[int], sight: Sight) -> bool:
        """Return whether a training has reached its goal on its new frames; asked before each update, if it has a most.

        Args:
            positions: new frames of this training, oldest first.
        """

    def trained(self, num_updates: int, seconds: float, *, is_enough: bool) -> None:
        """Take note that a training is complete, and whether it has reached its goal."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later answer depends on, as plain numbers and lists."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state_dict()`."""
