"""What a simulation asks of the world in which its events happen."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Training:
    """What a training has come to.

    Args:
        num_learned: frames in its updates, each as often as it is in one.
        num_updates: made.
        version: of the weights that it has made; -1 = the student has not changed.
        is_enough: the pace's goal is reached.
    """

    num_learned: int
    num_updates: int
    version: int
    is_enough: bool


class World(Protocol):
    """What happens at an event; the simulation only knows when."""

    def labelled(self, position: int, seconds: float) -> bool:
        """Take the label of a position; return whether to train now."""

    def train(self, number: int, seconds: float) -> Training | None:
        """Make a training with what is known now; None = none can begin."""

    def trained(self, training: Training, seconds: float) -> None:
        """Note that a training is complete."""

    def update_bytes(self, version: int, after: int) -> int:
        """Return the bytes that are sent to bring the student from the weights that were sent last to these."""

    def deployed(self, version: int, seconds: float) -> None:
        """Use these weights from now on."""

    def dropped(self, version: int) -> None:
        """Forget weights that newer ones have overtaken."""
