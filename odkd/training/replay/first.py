"""One-time fine-tuning: learn from the first frames as FIFO would, then stay frozen (a baseline)."""

from collections.abc import Sequence
from typing import Any

from odkd.training.replay import Scorer


class First:
    """Selects the newest of the first `num_positions` frames, oldest first, until all have been learned from."""

    def __init__(self, num_positions: int) -> None:
        if num_positions < 1:
            raise ValueError(
                f"replay.num_positions={num_positions}; expected at least 1 (replay=nothing never learns at all)"
            )
        self._num_positions = num_positions
        self._num_seen = 0
        self._positions: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:  # noqa: ARG002
        return self._positions[-num_positions:]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:  # noqa: ARG002
        room = max(0, self._num_positions - self._num_seen)  # 0: all have been learned from
        self._positions = [*self._positions, *fresh[:room]] if room else []
        self._num_seen += len(fresh)

    def kept(self) -> Sequence[int]:
        return tuple(self._positions)

    def state_dict(self) -> dict[str, Any]:
        return {"num_seen": self._num_seen, "positions": list(self._positions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_seen, self._positions = state["num_seen"], list(state["positions"])
