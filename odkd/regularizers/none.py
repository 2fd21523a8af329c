"""No regularizer: plain online distillation."""

from typing import Any

from torch import Tensor, nn


class NoRegularizer:
    """Leaves logits and loss as they are."""

    def adjust_logits(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:  # noqa: ARG002
        return logits_BKHW

    def penalty(self, student: nn.Module, images_BCHW: Tensor, logits_BKHW: Tensor) -> Tensor | None:  # noqa: ARG002
        return None

    def after_update(self, student: nn.Module) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
