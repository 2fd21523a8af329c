"""Random partial updates: entries drawn anew for each phase, a control of AMS (Khani et al. 2021)."""

from typing import Any

import torch

from odkd.common.seeds import named_generator
from odkd.common.settings import Share
from odkd.training.updates import Entries, as_masks, num_selected


class Random:
    """Selects a share of the entries, each with the same probability.

    Args:
        share: of the parameters that learn, above 0 to 1.
    """

    def __init__(self, share: Share, seed: int) -> None:
        self._share, self._seed, self._num_phases = share, seed, 0

    def choose(self, weights: Entries) -> Entries | None:
        generator = named_generator(self._seed, "updates", self._num_phases)
        self._num_phases += 1
        chosen_N = torch.zeros(sum(tensor.numel() for tensor in weights.values()), dtype=torch.bool)
        order_N = torch.randperm(len(chosen_N), generator=generator)
        chosen_N[order_N[: num_selected(self._share, weights)]] = True
        return as_masks(chosen_N, weights)

    def state_dict(self) -> dict[str, Any]:
        return {"num_phases": self._num_phases}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_phases = state["num_phases"]
