"""Losses of a student against label maps, and against a teacher's probabilities; pixels labelled 255 never count.

One file a loss. The simplest has a `name` and `__call__(logits, labels)`; the protocols below are what else the
learner asks of a loss, each only of those that say so.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from odkd.data.labels.soft import SoftLabels
from odkd.training.losses.cross_entropy import CrossEntropy

__all__ = [
    "CrossEntropy", "HasParts", "Loss", "NeedsSoftLabels", "SoftLabels", "SoftLoss", "WeighsClasses", "wants_soft",
]  # fmt: skip


class Loss(Protocol):
    """A scalar from logits [B, K, H, W] and int64 labels [B, H, W]; `name` is its name among the metrics."""

    name: str

    def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor: ...


class SoftLoss(Protocol):
    """A loss that takes soft labels too; `needs_soft_labels` says whether it does without."""

    name: str
    needs_soft_labels: bool

    def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> Tensor: ...


@runtime_checkable
class NeedsSoftLabels(Protocol):
    """Whether a loss is called with soft labels as a third argument."""

    needs_soft_labels: bool


@runtime_checkable
class HasParts(Protocol):
    """A sum of losses, each of which is worth a curve of its own."""

    def parts(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> dict[str, Tensor]:
        """Scalars by name, as they are added up: their sum is the loss."""


@runtime_checkable
class WeighsClasses(Protocol):
    """A loss that wants to know how often each class occurs in what is about to be learned from."""

    weighs_classes: bool

    def weigh(self, pixels_K: Tensor) -> None:
        """Called before each pass; `pixels_K`: labelled pixels of each class in the pass, float or int64 [K]."""


def wants_soft(loss: object) -> bool:
    """Whether a loss cannot do without soft labels."""
    return isinstance(loss, NeedsSoftLabels) and loss.needs_soft_labels
