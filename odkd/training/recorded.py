"""The pace of a recorded session: the teacher sees the frames that it saw then, and no other."""

from collections.abc import Sequence
from typing import Any

from odkd.training.pace import Pace, Sight


class RecordedPace:
    """A pace whose frames for the teacher were chosen when the session was recorded: those that have a label.

    Everything else, when the student trains and how much, is up to the pace that it is given.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    @property
    def max_updates(self) -> int | None:
        return self._pace.max_updates

    def is_due(self, seconds: float, *, is_step: bool) -> bool:
        return self._pace.is_due(seconds, is_step=is_step)

    def sends(self, position: int, seconds: float, sight: Sight) -> bool:
        self._pace.sends(position, seconds, sight)  # it counts frames
        return sight.has_label(position)

    def labelled(self, position: int, seconds: float, sight: Sight) -> bool:
        return self._pace.labelled(position, seconds, sight)

    def is_enough(self, positions: Sequence[int], sight: Sight) -> bool:
        return self._pace.is_enough(positions, sight)

    def trained(self, num_updates: int, seconds: float, *, is_enough: bool) -> None:
        self._pace.trained(num_updates, seconds, is_enough=is_enough)

    def state_dict(self) -> dict[str, Any]:
        return self._pace.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._pace.load_state_dict(state)
