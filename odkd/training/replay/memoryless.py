"""Memoryless: learn from the stream frames alone, each once (lower bound of Houyon et al. 2023)."""

from collections.abc import Sequence
from typing import Any

from odkd.training.replay import Scorer


class Memoryless:
    """Knows the frames that have gone by since the last selection, forgets all others."""

    def __init__(self) -> None:
        self._stream: list[int] = []

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:  # noqa: ARG002
        return self._stream[-num_positions:]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:  # noqa: ARG002
        self._stream = list(fresh)

    def kept(self) -> Sequence[int]:
        return tuple(self._stream)

    def state_dict(self) -> dict[str, Any]:
        return {"stream": list(self._stream)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stream = list(state["stream"])
