"""Memory Aware Synapses: keep weights that the output is sensitive to (Aljundi et al., ECCV 2018).

    penalty = strength * sum_i omega_i (theta_i - theta*_i)^2
    omega_i <- decay * omega_i + (1 - decay) * mean over frames of |d ||F(x)||^2 / d theta_i|

At each consolidation theta* is set to the current weights, and omega is computed there over the frames of the pass
that has just ended (stream and replayed), one frame at a time; labels are not used. ||F(x)||^2 is the sum of the
squared logits of a pixel. The running mean of omega, in place of the paper's sum, is that of Houyon et al. 2023.

Deviation: ||F||^2 is averaged over pixels, so that `strength` does not depend on the resolution. The released code of
Houyon et al. differs in three ways, each with its setting (together: experiment=houyon2023_released/memoryless_mas):

* `objective="map_norm"`: omega is the gradient of ||F(x)||, the norm over classes and pixels of the whole map, not
  squared, with dropout on. It grows with the square root of the number of pixels: at 720p it is about a hundred times
  that of `pixel_mean`.
* `first_importance="decayed"`: the first omega is scaled by 1 - decay, because the flag that prevents this is cleared
  too early.
* One more pass comes before the first omega: with its default of 10, after the 11th pass that learns. That is
  `warmup_passes=11`.

For a batch of several frames the released code takes the absolute value of the batch's mean gradient; ours is always of
single frames, which is the same with the README's batches of one.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from odkd.common.settings import Fraction, NaturalInt, NonNegativeFloat, PositiveInt
from odkd.training.regularizers import Update
from odkd.training.regularizers.schedule import Schedule
from odkd.training.regularizers.weights import gradients_of_frames, squared_distance, weight_vector


class Mas:
    """Remembers weights and their importances.

    Args:
        strength: weight of the penalty.
        decay: weight of the old importance.
        objective: whose gradient is the importance: "pixel_mean" = ||F||^2 averaged over pixels, "map_norm" = ||F|| of
            the whole map with dropout on.
        first_importance: "whole" = not scaled, "decayed" = scaled by 1 - decay.
        warmup_passes, update_every_passes: times of consolidation, see `Schedule`.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        strength: NonNegativeFloat,
        decay: Fraction,
        objective: Literal["pixel_mean", "map_norm"] = "pixel_mean",
        first_importance: Literal["whole", "decayed"],
        warmup_passes: NaturalInt,
        update_every_passes: PositiveInt,
    ) -> None:
        self._schedule = Schedule(warmup_passes, update_every_passes)
        self.sets_in_after_passes = self._schedule.first
        self._strength, self._decay, self._first_importance = strength, decay, first_importance
        self._objective = squared_norm if objective == "pixel_mean" else map_norm
        self._has_dropout = objective == "map_norm"
        self._anchor_P = weight_vector(student).detach()
        self._omega_P = torch.zeros_like(self._anchor_P)

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        if not self._schedule.has_consolidated:
            return None
        return self._strength * squared_distance(weight_vector(student), self._anchor_P, self._omega_P)

    def after_update(self, student: nn.Module, update: Update) -> None:
        is_first = not self._schedule.has_consolidated
        if not self._schedule.count(update):
            return
        total_P, num_frames = torch.zeros_like(self._omega_P), 0
        frames = gradients_of_frames(student, update, self._objective, has_dropout=self._has_dropout)
        for gradient_P, _ in frames:
            total_P += gradient_P.abs()
            num_frames += 1
        decay = 0 if is_first and self._first_importance == "whole" else self._decay
        self._omega_P = decay * self._omega_P + (1 - decay) * total_P / num_frames
        self._anchor_P = weight_vector(student).detach()

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": self._schedule.state_dict(), "anchor": self._anchor_P, "omega": self._omega_P}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._schedule.load_state_dict(state["schedule"])
        self._anchor_P = state["anchor"].to(self._anchor_P.device)
        self._omega_P = state["omega"].to(self._omega_P.device)


def squared_norm(logits_1KHW: Tensor, _labels_1HW: Tensor) -> Tensor:
    """Return the squared L2 norm over classes, averaged over pixels."""
    return logits_1KHW.square().sum(dim=1).mean()


def map_norm(logits_1KHW: Tensor, _labels_1HW: Tensor) -> Tensor:
    """Return the L2 norm over classes and pixels.

    >>> map_norm(torch.tensor([[[[3.0]], [[4.0]]]]), torch.zeros(1, 1, 1))
    tensor(5.)
    """
    norm: Tensor = torch.linalg.vector_norm(logits_1KHW)
    return norm
