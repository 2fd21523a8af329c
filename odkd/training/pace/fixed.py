"""Fixed: the teacher sees one frame of every `every`, and the student trains at each step of the window (ARTHuS)."""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import PositiveInt
from odkd.training.pace import Pace, Sight


class Fixed:
    """A rate that nothing changes.

    Args:
        every: sampled frames, of which the teacher sees the first.
    """

    max_updates: int | None = None

    def __init__(self, every: PositiveInt = 1) -> None:
        self.every = every
        self._num_frames = 0

    def is_due(self, seconds: float, *, is_step: bool) -> bool:
        return is_step

    def sends(self, position: int, seconds: float, sight: Sight) -> bool:
        self._num_frames += 1
        return (self._num_frames - 1) % self.every == 0

    def labelled(self, position: int, seconds: float, sight: Sight) -> bool:
        return False

    def is_enough(self, positions: Sequence[int], sight: Sight) -> bool:
        return False

    def trained(self, num_updates: int, seconds: float, *, is_enough: bool) -> None:
        return

    def state_dict(self) -> dict[str, Any]:
        return {"frames": self._num_frames}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_frames = state["frames"]


def is_plain(pace: Pace) -> bool:
    """Return whether a pace is that of Houyon et al. (2023): all sampled frames, a training at each step."""
    return type(pace) is Fixed and pace.every == 1
