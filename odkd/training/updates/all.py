"""Every iteration may change all weights: plain online distillation."""

from typing import Any

import torch

from odkd.training.updates import Entries


class All:
    """Selects all entries; odkd then holds none, and compares none."""

    def choose(self, weights: Entries) -> Entries | None:
        return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
