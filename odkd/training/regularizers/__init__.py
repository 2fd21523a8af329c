"""Regularizers: methods against forgetting besides replay, as three hooks around an ordinary learning step."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Update:
    """One update on one batch, as the hooks see it. A pass is one epoch over what the replay memory selected.

    Args:
        positions: of the batch's frames.
        images_BCHW: normalised images.
        labels_BHW: int64 class ids, 255 = ignore.
        is_replayed_B: bool; True for a frame from the memory, False for a stream frame, which is past only since the
            last iteration.
        ends_pass: True for the last update of a pass.
        kept: positions that a later iteration may learn from.
        forward: (network, images_BCHW) -> logits_BKHW, in the run's precision.
        frames_of_pass: iterates over the pass again, frame by frame: images_1CHW and labels_1HW.
        parts: numbers of frames that are forwarded together and have a loss of their own; () = all frames.
    """

    positions: tuple[int, ...]
    images_BCHW: Tensor
    labels_BHW: Tensor
    is_replayed_B: Tensor
    ends_pass: bool
    kept: Collection[int]
    forward: Callable[[nn.Module, Tensor], Tensor]
    frames_of_pass: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    parts: tuple[int, ...] = ()


class Regularizer(Protocol):
    """Any object with these members; `none.py` is the simplest. Its constructor may ask for the untrained `student`.

    `sets_in_after_passes` is the number of passes before the regularizer first changes an update; 0 = it acts at once.
    A run that has no more passes than that warns. It is optional in a user-defined regularizer: without it, 0 is used.
    A regularizer whose `adjust_logits` hides classes from the loss has `hides_classes = True` and refuses soft labels.
    """

    sets_in_after_passes: int

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        """Return the logits that the loss is computed from."""

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        """Return a scalar to add to the loss, or None. `logits_BKHW` are the student's, before `adjust_logits`."""

    def after_update(self, student: nn.Module, update: Update) -> None:
        """Act after the optimizer step; `.grad` still holds the (unscaled) gradient of loss and penalty."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the hooks depend on, as plain numbers, lists and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state_dict()`; its tensors are on the CPU."""
