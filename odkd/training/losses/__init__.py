"""Losses of a student against label maps and a teacher's probabilities; pixels labelled 255 are ignored.

Each loss has one file. The simplest has a `name` and `__call__(logits, labels)`. The other protocols below are
optional: the learner uses them only with losses that have their members.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from odkd.data.labels.soft import SoftLabels
from odkd.training.losses.cross_entropy import CrossEntropy

__all__ = [
    "CrossEntropy",
    "HasParts",
    "Loss",
    "NeedsSoftLabels",
    "SoftLabels",
    "SoftLoss",
    "WeighsClasses",
    "wants_soft",
]


class Loss(Protocol):
    """Function from logits [B, K, H, W] and int64 labels [B, H, W] to a scalar; `name` is used in metric names."""

    name: str

    def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor: ...


class SoftLoss(Protocol):
    """Loss that takes soft labels as a third argument if `needs_soft_labels` is True."""

    name: str
    needs_soft_labels: bool

    def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> Tensor: ...


@runtime_checkable
class NeedsSoftLabels(Protocol):
    """Loss that states whether it is called with soft labels as a third argument."""

    needs_soft_labels: bool


@runtime_checkable
class HasParts(Protocol):
    """Sum of losses that are reported one by one."""

    def parts(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> dict[str, Tensor]:
        """Return weighted scalars by name; their sum is the loss."""


@runtime_checkable
class WeighsClasses(Protocol):
    """Loss that, if `weighs_classes` is True, takes the class frequencies of the frames of the next pass."""

    weighs_classes: bool

    def weigh(self, pixels_K: Tensor) -> None:
        """Set class weights before a pass; `pixels_K`: labelled pixels per class in the pass, float or int64 [K]."""


def wants_soft(loss: object) -> bool:
    """True for a loss that needs soft labels."""
    return isinstance(loss, NeedsSoftLabels) and loss.needs_soft_labels
