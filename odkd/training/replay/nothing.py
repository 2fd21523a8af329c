"""No learning at all: the student keeps its initial weights (the baseline that online distillation must beat)."""

from collections.abc import Sequence
from typing import Any

from odkd.training.replay import Scorer


class Nothing:
    """Keeps nothing and selects nothing."""

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        return []

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        pass

    def kept(self) -> Sequence[int]:
        return ()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
