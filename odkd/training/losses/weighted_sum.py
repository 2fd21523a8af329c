"""A weighted sum of losses: each keeps its name among the metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from odkd.training.losses import Loss, SoftLabels, SoftLoss, WeighsClasses, wants_soft


class WeightedSum(nn.Module):
    """sum of weight * loss. A part of weight 0 is left out: it costs nothing and asks for nothing.

    Args:
        weights: by part, at least 0, some above; they need not add up to 1.
        parts: the losses, by the names that they get among the metrics.
    """

    name = "weighted_sum"

    def __init__(self, weights: Mapping[str, float], parts: Mapping[str, Loss | SoftLoss]) -> None:
        super().__init__()
        if weights.keys() != parts.keys():
            raise ValueError(
                f"loss.weights has {', '.join(weights)}, loss.parts has {', '.join(parts)}; give each part one weight"
            )
        if not (all(0 <= weight < float("inf") for weight in weights.values()) and any(weights.values())):
            raise ValueError(f"loss.weights={dict(weights)}; expected numbers of at least 0, some above 0")
        if reserved := {"total", "regularizer"} & parts.keys():
            raise ValueError(f"loss.parts has one called {reserved.pop()}, which is a metric of its own; rename it")
        self._weights = {name: float(weight) for name, weight in weights.items() if weight}
        self._parts = {name: parts[name] for name in self._weights}
        self._moved = nn.ModuleList(part for part in self._parts.values() if isinstance(part, nn.Module))
        self.needs_soft_labels = any(map(wants_soft, self._parts.values()))
        self.weighs_classes = any(part.weighs_classes for part in self._weighing())

    def forward(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None = None) -> Tensor:
        """Scalar; arguments as of the parts."""
        return torch.stack(list(self.parts(logits_BKHW, labels_BHW, soft).values())).sum()

    def parts(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None = None) -> dict[str, Tensor]:
        """Scalars by name, times their weights: their sum is the loss."""
        return {
            name: self._weights[name] * call(part, logits_BKHW, labels_BHW, soft) for name, part in self._parts.items()
        }

    def weigh(self, pixels_K: Tensor) -> None:
        """Hand on how often each class occurs to the parts that asked for it."""
        for part in self._weighing():
            if part.weighs_classes:
                part.weigh(pixels_K)

    def _weighing(self) -> list[WeighsClasses]:
        return [part for part in self._parts.values() if isinstance(part, WeighsClasses)]


def call(loss: Any, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> Tensor:
    """A loss with the arguments that it takes: soft labels only where it needs them."""
    value: Tensor = loss(logits_BKHW, labels_BHW, soft) if wants_soft(loss) else loss(logits_BKHW, labels_BHW)
    return value
