"""FIFO: learn from the newest frames, oldest first (ARTHuS, Cioppa et al. 2019; "Baseline" of Houyon et al. 2023)."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from odkd.common.settings import PositiveInt
from odkd.training.replay import Scorer


class Fifo:
    """Queue of the last `capacity` positions."""

    def __init__(self, capacity: PositiveInt) -> None:
        self._positions: deque[int] = deque(maxlen=capacity)

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        return list(self._positions)[-num_positions:]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        self._positions.extend(fresh)

    def kept(self) -> Sequence[int]:
        return tuple(self._positions)

    def state_dict(self) -> dict[str, Any]:
        return {"positions": list(self._positions)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._positions.clear()
        self._positions.extend(state["positions"])
