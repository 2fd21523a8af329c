"""Memoryless: learn from the stream frames only, each of them once (lower bound of Houyon et al. 2023)."""

from collections.abc import Sequence
from typing import Any

from odkd.training.replay import Scorer


class Memoryless:
    """Keeps the stream frames of the next selection and forgets all earlier ones."""

    def __init__(self) -> None:
        self._stream: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        return self._stream[-num_positions:]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        self._stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return tuple(self._stream)

    def state_dict(self) -> dict[str, Any]:
        return {"stream": list(self._stream)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stream = list(state["stream"])
