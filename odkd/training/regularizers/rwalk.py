"""Riemannian Walk: keep weights whose steps lowered the loss much for their length (Chaudhry et al., ECCV 2018).

    penalty = strength * sum_i (F_i / max F + s_i / max s) (theta_i - theta*_i)^2
    F_i <- decay * F_i + (1 - decay) * g_i^2                                  each update (EWC++)
    s_i += max(0, -sum of g_i dtheta_i) / (F_i Dtheta_i^2 / 2 + epsilon)      each `delta_t` updates

g is the gradient of the task loss (the penalty's share is known in closed form and subtracted), dtheta a step of the
optimizer, Dtheta the change over `delta_t` steps, a stretch. At each consolidation theta* is set to the current
weights, F and s are frozen for the penalty, and s is averaged with the s of the previous consolidation.

Deviation: a consolidation ends the current stretch, so that passes shorter than `delta_t` count. `is_active=False` is
the released code of Houyon et al. 2023 with torch < 2: it resets a counter before comparing it, so that the penalty is
never applied, although everything is tracked. With torch >= 2 that code crashes at the end of its warm-up: it reads
gradients of the student that were computed on a copy and are None. That code weighs the new gradient in F with 0.1
(`decay` 0.9 here), whereas Chaudhry et al. have 0.9.
"""

from typing import Any

import torch
from torch import Tensor, nn

from odkd.common.settings import Fraction, NaturalInt, NonNegativeFloat, PositiveFloat, PositiveInt
from odkd.training.regularizers import Update
from odkd.training.regularizers.schedule import Schedule
from odkd.training.regularizers.weights import gradient_vector, squared_distance, weight_vector

REMEMBERED = ("fisher", "loss_drop", "stretch_start", "stretch_scores", "score", "importance", "anchor")


class RWalk:
    """Remembers seven numbers per weight, named in `REMEMBERED`.

    Args:
        strength: weight of the penalty.
        decay: weight of the old Fisher information, per update.
        delta_t: updates in a stretch.
        epsilon: added to the length of a stretch.
        is_active: False = track everything and penalize nothing.
        warmup_passes, update_every_passes: times of consolidation, see `Schedule`.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        strength: NonNegativeFloat,
        decay: Fraction,
        delta_t: PositiveInt,
        epsilon: PositiveFloat,
        is_active: bool,
        warmup_passes: NaturalInt,
        update_every_passes: PositiveInt,
    ) -> None:
        self._schedule = Schedule(warmup_passes, update_every_passes)
        self.sets_in_after_passes = self._schedule.first
        self._strength, self._decay, self._delta_t, self._epsilon = strength, decay, delta_t, epsilon
        self._is_active = is_active
        self._num_updates = 0  # in the current stretch
        weights_P = weight_vector(student).detach()
        self._before_P = weights_P  # of the current step; `penalty` sets it
        self._stretch_start_P = self._anchor_P = weights_P
        self._fisher_P = self._loss_drop_P = self._stretch_scores_P = torch.zeros_like(weights_P)
        self._score_P = self._importance_P = torch.zeros_like(weights_P)

    @property
    def _is_penalizing(self) -> bool:
        return self._is_active and self._schedule.has_consolidated

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        weights_P = weight_vector(student)
        self._before_P = weights_P.detach()
        if not self._is_penalizing:
            return None
        return self._strength * squared_distance(weights_P, self._anchor_P, self._importance_P)

    def after_update(self, student: nn.Module, update: Update) -> None:
        weights_P, gradient_P = weight_vector(student).detach(), gradient_vector(student)
        if self._is_penalizing:
            gradient_P -= 2 * self._strength * self._importance_P * (self._before_P - self._anchor_P)
        is_finite = gradient_P.isfinite().all()  # in float16, steps with an infinite gradient are skipped
        fisher_P = self._decay * self._fisher_P + (1 - self._decay) * gradient_P.square()
        loss_drop_P = self._loss_drop_P - gradient_P * (weights_P - self._before_P)
        self._fisher_P = torch.where(is_finite, fisher_P, self._fisher_P)
        self._loss_drop_P = torch.where(is_finite, loss_drop_P, self._loss_drop_P)
        self._num_updates += 1

        is_first = not self._schedule.has_consolidated
        is_due = self._schedule.count(update)
        if is_due or self._num_updates == self._delta_t:
            self._end_stretch(weights_P)
        if is_due:
            self._score_P = self._stretch_scores_P if is_first else (self._score_P + self._stretch_scores_P) / 2
            self._stretch_scores_P = torch.zeros_like(weights_P)
            self._importance_P = share_of_highest(self._fisher_P) + share_of_highest(self._score_P)
            self._anchor_P = weights_P

    def _end_stretch(self, weights_P: Tensor) -> None:
        length_P = self._fisher_P * (weights_P - self._stretch_start_P).square() / 2
        self._stretch_scores_P = self._stretch_scores_P + self._loss_drop_P.relu() / (length_P + self._epsilon)
        self._loss_drop_P, self._stretch_start_P = torch.zeros_like(weights_P), weights_P
        self._num_updates = 0

    def state_dict(self) -> dict[str, Any]:
        tensors = {name: getattr(self, f"_{name}_P") for name in REMEMBERED}
        return {"schedule": self._schedule.state_dict(), "num_updates": self._num_updates, **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._schedule.load_state_dict(state["schedule"])
        self._num_updates = state["num_updates"]
        for name in REMEMBERED:
            setattr(self, f"_{name}_P", state[name].to(self._anchor_P.device))


def share_of_highest(values_P: Tensor) -> Tensor:
    """Return values of at least 0, scaled so that the highest is 1; all 0 if it is 0."""
    return values_P / values_P.max().clamp(min=torch.finfo(torch.float32).tiny)
