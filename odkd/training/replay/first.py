"""One-time fine-tuning (a baseline): learn from the first frames as FIFO does, then stay frozen."""

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import PositiveInt
from odkd.training.replay import Scorer


class First:
    """Memory of the first `num_positions` frames; selects the newest of them until all have been learned from."""

    def __init__(self, num_positions: PositiveInt) -> None:
        self.learns_from_first = num_positions
        self._num_seen = 0
        self._positions: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        return self._positions[-num_positions:]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        room = max(0, self.learns_from_first - self._num_seen)  # 0: all have been learned from
        self._positions = [*self._positions, *fresh[:room]] if room else []
        self._num_seen += len(fresh)

    def kept(self) -> Sequence[int]:
        return tuple(self._positions)

    def state_dict(self) -> dict[str, Any]:
        return {"num_seen": self._num_seen, "positions": list(self._positions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_seen, self._positions = state["num_seen"], list(state["positions"])
