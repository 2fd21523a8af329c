"""Memory Aware Synapses: hold weights that the output is sensitive to (Aljundi et al., ECCV 2018).

    penalty = strength * sum_i omega_i (theta_i - theta*_i)^2
    omega_i <- decay * omega_i + (1 - decay) * mean over frames of |d ||F(x)||^2 / d theta_i|

At each consolidation theta* becomes the current weights, and omega is taken there over the frames of the pass that
has just ended (stream and replayed), one frame at a time; labels play no part. ||F(x)||^2 is the sum of the squared
logits of a pixel. The running mean of omega instead of the paper's sum is that of Houyon et al. 2023.

Deviation: ||F||^2 is averaged over pixels, so that `strength` does not depend on the resolution. The released code
of Houyon et al. takes the norm itself, not its square, over the whole picture, with dropout on.
`first_importance="decayed"` is what that code does to the first omega: (1 - decay) * new, for the flag that should
have kept it whole is cleared too early.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from odkd.training.regularizers import Update
from odkd.training.regularizers.arguments import check_choice, check_number
from odkd.training.regularizers.schedule import Schedule
from odkd.training.regularizers.weights import gradients_of_frames, weight_vector


class Mas:
    """Remembers weights and how important each was."""

    def __init__(
        self,
        student: nn.Module,
        *,
        strength: float,
        decay: float,
        first_importance: Literal["whole", "decayed"],
        warmup_passes: int,
        update_every_passes: int,
    ) -> None:
        check_number("strength", strength)
        check_number("decay", decay, high=1)
        check_choice("first_importance", first_importance, ("whole", "decayed"))
        self._schedule = Schedule(warmup_passes, update_every_passes)
        self._strength, self._decay, self._first_importance = strength, decay, first_importance
        self._anchor_P = weight_vector(student).detach()
        self._omega_P = torch.zeros_like(self._anchor_P)

    @property
    def sets_in_after_passes(self) -> int:
        """Before that many passes nothing is held on to."""
        return self._schedule.first

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:  # noqa: ARG002
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:  # noqa: ARG002
        if not self._schedule.has_consolidated:
            return None
        return self._strength * (self._omega_P * (weight_vector(student) - self._anchor_P).square()).sum()

    def after_update(self, student: nn.Module, update: Update) -> None:
        is_first = not self._schedule.has_consolidated
        if not self._schedule.count(update):
            return
        total_P, num_frames = torch.zeros_like(self._omega_P), 0
        for gradient_P, _ in gradients_of_frames(student, update, squared_norm):
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


def squared_norm(logits_1KHW: Tensor, labels_1HW: Tensor) -> Tensor:  # noqa: ARG001
    """Squared L2 norm over classes, averaged over pixels."""
    return logits_1KHW.square().sum(dim=1).mean()
