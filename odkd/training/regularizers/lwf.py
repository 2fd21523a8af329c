"""Learning without Forgetting: stay close to an earlier copy of the student (Li & Hoiem 2016; Houyon et al. 2023).

    penalty = alpha * mean over pixels of KL(softmax(copy / T) || softmax(student / T))

The copy is the student at the last consolidation; both softmax functions are over the classes seen until then. Every
pixel counts, labelled or not. There is no factor T^2 (Hinton et al. 2015), as in both papers: `alpha` includes it. KL
differs from the cross-entropy of Li & Hoiem by a constant; it is 0 if nothing is forgotten.

Deviation: the released code of Houyon et al. takes the "batchmean" of a [B, K, H, W] map, a sum over the pixels
divided only by B, H*W times as large, which freezes the student: that is `reduction="sum"`. Its copy also keeps
dropout on; ours is in eval mode. The student is not: with dropout, the penalty is slightly above 0 even for equal
weights.
"""

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.settings import NaturalInt, NonNegativeFloat, PositiveFloat, PositiveInt
from odkd.training.regularizers import Update
from odkd.training.regularizers.schedule import Schedule
from odkd.training.regularizers.seen import MASKED, classes_in, from_list, to_list


class Lwf:
    """Remembers the copy, the classes seen until it was taken, and those seen so far.

    Args:
        alpha: weight of the penalty.
        temperature: T.
        reduction: mean over the pixels or, as in released code, their sum.
        warmup_passes, update_every_passes: times at which the copy is taken, see `Schedule`.
    """

    def __init__(
        self,
        student: nn.Module,
        num_classes: int,
        device: torch.device,
        *,
        alpha: NonNegativeFloat,
        temperature: PositiveFloat,
        reduction: Literal["mean", "sum"],
        warmup_passes: NaturalInt,
        update_every_passes: PositiveInt,
    ) -> None:
        self._schedule = Schedule(warmup_passes, update_every_passes)
        self.sets_in_after_passes = self._schedule.first
        self._alpha, self._temperature, self._reduction = alpha, temperature, reduction
        self._copy = copy.deepcopy(student).eval().requires_grad_(False)
        self._is_seen_K = torch.zeros(num_classes, dtype=torch.bool, device=device)
        self._is_seen_by_copy_K = self._is_seen_K

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        if not self._schedule.has_consolidated:
            return None
        with torch.no_grad():
            target_BKHW = self._log_softmax(update.forward(self._copy, update.images_BCHW))
        divergence = F.kl_div(self._log_softmax(logits_BKHW), target_BKHW, reduction="sum", log_target=True)
        batch_size, _, height, width = logits_BKHW.shape
        return self._alpha * divergence / (batch_size * (height * width if self._reduction == "mean" else 1))

    def after_update(self, student: nn.Module, update: Update) -> None:
        self._is_seen_K = self._is_seen_K | classes_in(update.labels_BHW, len(self._is_seen_K))
        if self._schedule.count(update):
            self._copy.load_state_dict(student.state_dict())
            self._is_seen_by_copy_K = self._is_seen_K

    def state_dict(self) -> dict[str, Any]:
        return {
            "schedule": self._schedule.state_dict(),
            "copy": self._copy.state_dict(),
            "seen": to_list(self._is_seen_K),
            "seen_by_copy": to_list(self._is_seen_by_copy_K),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        num_classes, device = len(self._is_seen_K), self._is_seen_K.device
        self._schedule.load_state_dict(state["schedule"])
        self._copy.load_state_dict(state["copy"])
        self._is_seen_K = from_list(state["seen"], num_classes, device)
        self._is_seen_by_copy_K = from_list(state["seen_by_copy"], num_classes, device)

    def _log_softmax(self, logits_BKHW: Tensor) -> Tensor:
        """Return log probabilities at T in float32, over the classes that the copy has seen."""
        is_unseen_1K11 = ~self._is_seen_by_copy_K[None, :, None, None]
        return F.log_softmax(logits_BKHW.float().masked_fill(is_unseen_1K11, MASKED) / self._temperature, dim=1)
