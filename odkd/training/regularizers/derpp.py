"""DER++: keep the logits of replayed frames close to earlier, stored ones (Buzzega et al., NeurIPS 2020).

    loss = CE(stream frames) + beta * CE(replayed frames) + alpha * MSE(logits of replayed frames, stored logits)

The stored logits are those of the student when it first learned from the frame, before that update. The ordinary
loss of replayed frames is the paper's second term: beta is 1.

Deviations: logits are stored and compared as averages over `pool` x `pool` pixels, in float16, because full maps would
fill the memory; the squared error is a mean over classes and squares. Both terms use the same replayed frames, whereas
the paper draws twice. All terms are averaged over the frames of the update, not over each kind of frame
(`stage.order=paired`: half of the paper's sum, a factor that does not affect Adam).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.settings import NonNegativeFloat, PositiveInt
from odkd.training.regularizers import Update


class DerPP:
    """Remembers pooled logits [K, ceil(H / pool), ceil(W / pool)] of the positions that replay keeps.

    Args:
        alpha: weight of the squared error.
        pool: side of the squares, pixels.
    """

    sets_in_after_passes = 0

    def __init__(self, device: torch.device, *, alpha: NonNegativeFloat, pool: PositiveInt) -> None:
        self._device, self._alpha, self._pool = device, alpha, pool
        self._stored: dict[int, Tensor] = {}  # float16

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        return logits_BKHW

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        pooled_BKHW = F.avg_pool2d(logits_BKHW.float(), self._pool, ceil_mode=True)
        now_BKHW = pooled_BKHW.detach()
        known = [self._stored.get(position) for position in update.positions]
        for position, now_KHW, before in zip(update.positions, now_BKHW, known, strict=True):
            if before is None:
                highest = torch.finfo(torch.float16).max
                self._stored[position] = now_KHW.clamp(-highest, highest).half()
        if all(before is None for before in known):
            return None
        # A frame without stored logits is compared with its own: error 0.
        pairs = zip(known, now_BKHW, strict=True)
        stored_BKHW = torch.stack([now if before is None else before.float() for before, now in pairs])
        errors_B = (pooled_BKHW - stored_BKHW).square().mean(dim=(1, 2, 3))
        return self._alpha * (errors_B * update.is_replayed_B).mean()

    def after_update(self, student: nn.Module, update: Update) -> None:
        if update.ends_pass:
            kept = set(update.kept)
            self._stored = {position: logits for position, logits in self._stored.items() if position in kept}

    def state_dict(self) -> dict[str, Any]:
        stacked = torch.stack(list(self._stored.values())) if self._stored else torch.zeros(0, dtype=torch.float16)
        return {"positions": list(self._stored), "logits": stacked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # Cloned: a slice would keep the full stack in memory as long as any position is kept.
        logits = (logits_KHW.clone() for logits_KHW in state["logits"].to(self._device))
        self._stored = dict(zip(state["positions"], logits, strict=True))
