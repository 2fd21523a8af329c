"""A pair of layers that are compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """A layer of the student that learns from a layer of the teacher.

    Args:
        loss: its name among the losses.
        weight: factor of the loss.
    """

    student: str
    teacher: str
    loss: str
    weight: float = 1.0
