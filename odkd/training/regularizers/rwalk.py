"""Riemannian Walk: hold weights whose steps lowered the loss much for their length (Chaudhry et al., ECCV 2018).

    penalty = strength * sum_i (F_i / max F + s_i / max s) (theta_i - theta*_i)^2
    F_i <- decay * F_i + (1 - decay) * g_i^2                                  each update (EWC++)
    s_i += max(0, -sum of g_i dtheta_i) / (F_i Dtheta_i^2 / 2 + epsilon)      each `delta_t` updates

g is the gradient of the task's loss alone (what the penalty adds is known in closed form and taken off), dtheta a
step of the optimizer, Dtheta the way over `delta_t` of them. At each consolidation theta* becomes the current
weights, F and s are frozen for the penalty, and s is averaged with what the consolidation before had.

Deviation: an unfinished stretch ends with its consolidation, so that passes shorter than `delta_t` count.
`is_active=False` is the released code of Houyon et al. 2023: it resets a counter before comparing it, so that the
penalty never sets in. Everything is tracked and nothing is penalised. That code weighs the new gradient in F with
0.1 (`decay` 0.9 here), where Chaudhry et al. have 0.9.
"""

from typing import Any

import torch
from torch import Tensor, nn

from odkd.training.regularizers import Update
from odkd.training.regularizers.arguments import check_number, check_positive, check_whole
from odkd.training.regularizers.schedule import Schedule
from odkd.training.regularizers.weights import gradient_vector, weight_vector

REMEMBERED = ("fisher", "loss_drop", "stretch_start", "stretch_scores", "score", "importance", "anchor")


class RWalk:
    """Remembers seven numbers a weight: see `REMEMBERED`."""

    def __init__(
        self,
        student: nn.Module,
        *,
        strength: float,
        decay: float,
        delta_t: int,
        epsilon: float,
        is_active: bool,
        warmup_passes: int,
        update_every_passes: int,
    ) -> None:
        check_number("strength", strength)
        check_number("decay", decay, high=1)
        check_whole("delta_t", delta_t, low=1)
        check_positive("epsilon", epsilon)
        self._schedule = Schedule(warmup_passes, update_every_passes)
        self._strength, self._decay, self._delta_t, self._epsilon = strength, decay, delta_t, epsilon
        self._is_active = is_active
        self._num_updates = 0  # of the stretch at hand
        weights_P = weight_vector(student).detach()
        self._before_P = weights_P  # the step at hand: `penalty` sets it before each
        self._stretch_start_P = self._anchor_P = weights_P
        self._fisher_P = self._loss_drop_P = self._stretch_scores_P = torch.zeros_like(weights_P)
        self._score_P = self._importance_P = torch.zeros_like(weights_P)

    @property
    def _is_penalizing(self) -> bool:
        return self._is_active and self._schedule.has_consolidated

    @property
    def sets_in_after_passes(self) -> int:
        """Before that many passes nothing is held on to."""
        return self._schedule.first

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:  # noqa: ARG002
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:  # noqa: ARG002
        weights_P = weight_vector(student)
        self._before_P = weights_P.detach()
        if not self._is_penalizing:
            return None
        return self._strength * (self._importance_P * (weights_P - self._anchor_P).square()).sum()

    def after_update(self, student: nn.Module, update: Update) -> None:
        weights_P, gradient_P = weight_vector(student).detach(), gradient_vector(student)
        if self._is_penalizing:
            gradient_P -= 2 * self._strength * self._importance_P * (self._before_P - self._anchor_P)
        is_finite = gradient_P.isfinite().all()  # in float16, a step whose gradient is not is left out
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
    """Values from 0 on, scaled so that the highest is 1 (all 0 where it is 0)."""
    return values_P / values_P.max().clamp(min=torch.finfo(torch.float32).tiny)
