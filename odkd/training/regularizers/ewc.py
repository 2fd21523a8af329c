"""Online EWC: keep weights that matter for past labels (Kirkpatrick et al., PNAS 2017; Schwarz et al., ICML 2018).

    penalty = strength / 2 * sum_i F_i (theta_i - theta*_i)^2
    F_i <- decay * F_i + mean over frames of (d CE(x, y) / d theta_i)^2

At each consolidation theta* is set to the current weights, and the empirical Fisher information is computed there
over the labelled frames of the pass that has just ended, one frame at a time. CE is the mean over a frame's labelled
pixels: a frame is one observation, as in the loss. (Schwarz et al. write gamma for `decay`.)

By the Laplace approximation, earlier passes weigh as much as the frames of the current pass with strength = 1 if the
pixels of a frame are fully dependent, and with strength = H*W if they are independent observations (their mean has
H*W times less Fisher information than one of them). The default is between: sqrt(H*W) of a 720p frame is 960.
"""

from typing import Any

import torch
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.common.settings import Fraction, NaturalInt, NonNegativeFloat, PositiveInt
from odkd.training.losses import CrossEntropy
from odkd.training.regularizers import Update
from odkd.training.regularizers.schedule import Schedule
from odkd.training.regularizers.weights import gradients_of_frames, squared_distance, weight_vector


class Ewc:
    """Remembers weights and their Fisher information.

    Args:
        strength: weight of the penalty.
        decay: weight of the old Fisher information.
        warmup_passes, update_every_passes: times of consolidation, see `Schedule`.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        strength: NonNegativeFloat,
        decay: Fraction,
        warmup_passes: NaturalInt,
        update_every_passes: PositiveInt,
    ) -> None:
        self._schedule = Schedule(warmup_passes, update_every_passes)
        self.sets_in_after_passes = self._schedule.first
        self._strength, self._decay = strength, decay
        self._anchor_P = weight_vector(student).detach()
        self._fisher_P = torch.zeros_like(self._anchor_P)

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        if not self._schedule.has_consolidated:
            return None
        return self._strength / 2 * squared_distance(weight_vector(student), self._anchor_P, self._fisher_P)

    def after_update(self, student: nn.Module, update: Update) -> None:
        if not self._schedule.count(update):
            return
        total_P, num_labelled = torch.zeros_like(self._fisher_P), torch.zeros((), device=self._fisher_P.device)
        for gradient_P, labels_1HW in gradients_of_frames(student, update, CrossEntropy()):
            total_P += gradient_P.square()  # 0 for a frame without labelled pixels
            num_labelled += (labels_1HW != IGNORE).any()
        self._fisher_P = self._decay * self._fisher_P + total_P / num_labelled.clamp(min=1)
        self._anchor_P = weight_vector(student).detach()

    def state_dict(self) -> dict[str, Any]:
        return {"schedule": self._schedule.state_dict(), "anchor": self._anchor_P, "fisher": self._fisher_P}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._schedule.load_state_dict(state["schedule"])
        self._anchor_P = state["anchor"].to(self._anchor_P.device)
        self._fisher_P = state["fisher"].to(self._fisher_P.device)
