"""No regularizer: plain online distillation."""

from typing import Any

from torch import Tensor, nn

from odkd.training.regularizers import Update


class NoRegularizer:
    """Changes neither logits nor loss."""

    sets_in_after_passes = 0

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        return None

    def after_update(self, student: nn.Module, update: Update) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
