"""A weighted sum of losses, each reported under its own name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from odkd.training.losses import Loss, SoftLabels, SoftLoss, WeighsClasses, wants_soft


class WeightedSum(nn.Module):
    """Sum of weight * loss. Parts of weight 0 are left out: they are not computed and need no soft labels.

    Args:
        weights: part -> weight, at least one above 0; they need not sum to 1.
        parts: part -> loss; the names are used in metric names.

    Raises:
        ValueError: weights and parts have different names, a weight is below 0, all are 0, or a name is reserved.
    """

    name = "weighted_sum"

    def __init__(self, weights: dict[str, float], parts: Mapping[str, Loss | SoftLoss]) -> None:
        super().__init__()
        if weights.keys() != parts.keys():
            raise ValueError(
                f"loss.weights has {', '.join(weights)}, loss.parts has {', '.join(parts)}; give each part one weight"
            )
        if not any(weights.values()) or min(weights.values()) < 0:
            raise ValueError(f"loss.weights={weights}; expected numbers of at least 0, some above 0")
        if reserved := {"total", "regularizer"} & parts.keys():
            raise ValueError(f"loss.parts has a part named {reserved.pop()}, the name of another metric; rename it")
        self._weights = {name: float(weight) for name, weight in weights.items() if weight}
        self._parts = {name: parts[name] for name in self._weights}
        self._moved = nn.ModuleList(part for part in self._parts.values() if isinstance(part, nn.Module))
        self.needs_soft_labels = any(map(wants_soft, self._parts.values()))
        self.weighs_classes = any(part.weighs_classes for part in self._weighing())

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None = None) -> Tensor:
        """Return a scalar; the arguments are those of the parts."""
        return torch.stack(list(self.parts(logits_BKHW, labels_BHW, soft).values())).sum()

    def parts(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None = None) -> dict[str, Tensor]:
        """Return the weighted scalars of the parts by name; their sum is the loss."""
        return {
            name: self._weights[name] * call(part, logits_BKHW, labels_BHW, soft) for name, part in self._parts.items()
        }

    def weigh(self, pixels_K: Tensor) -> None:
        """Pass the class frequencies on to the parts that use them."""
        for part in self._weighing():
            if part.weighs_classes:
                part.weigh(pixels_K)

    def _weighing(self) -> list[WeighsClasses]:
        return [part for part in self._parts.values() if isinstance(part, WeighsClasses)]


def call(loss: Any, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> Tensor:
    """Return the value of a loss; soft labels are passed only to a loss that needs them."""
    value: Tensor = loss(logits_BKHW, labels_BHW, soft) if wants_soft(loss) else loss(logits_BKHW, labels_BHW)
    return value
