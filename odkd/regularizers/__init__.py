"""What keeps a student from forgetting besides replay: three hooks around an ordinary learning step."""

from typing import Any, Protocol

from torch import Tensor, nn


class Regularizer(Protocol):
    """Any object with these members; see `none.py`."""

    def adjust_logits(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Change the logits before the loss sees them."""

    def penalty(self, student: nn.Module, images_BCHW: Tensor, logits_BKHW: Tensor) -> Tensor | None:
        """A scalar to add to the loss, or None."""

    def after_update(self, student: nn.Module) -> None:
        """Called when the optimizer has stepped."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the hooks depend on, as plain numbers, lists and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
