"""What keeps a student from forgetting besides replay: three hooks around an ordinary learning step."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Update:
    """One update on one batch, as the hooks see it. A pass is one epoch over what the replay memory selected."""

    positions: tuple[int, ...]
    images_BCHW: Tensor
    labels_BHW: Tensor  # int64 class ids, 255 = ignore
    is_replayed_B: Tensor  # bool: from the memory; False = a stream frame, which has gone by since the last iteration
    ends_pass: bool  # the last update of its pass
    kept: Collection[int]  # positions that may be learned from in a later iteration
    forward: Callable[[nn.Module, Tensor], Tensor]  # (network, images_BCHW) -> logits_BKHW in the run's precision
    frames_of_pass: Callable[[], Iterator[tuple[Tensor, Tensor]]]  # images_1CHW and labels_1HW of each frame, again


class Regularizer(Protocol):
    """Any object with these members; see `none.py`. Its constructor may ask for `student`, as yet untrained."""

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        """Change the logits before the loss sees them."""

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        """A scalar to add to the loss, or None; `logits_BKHW` as the student gave them."""

    def after_update(self, student: nn.Module, update: Update) -> None:
        """Called when the optimizer has stepped; `.grad` still holds the (unscaled) gradient of the whole loss."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the hooks depend on, as plain numbers, lists and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; its tensors come on the CPU."""
