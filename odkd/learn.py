"""Learning: one optimizer step on one batch; one pass over selected positions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from odkd.bank import Bank
from odkd.device import autocast
from odkd.losses import Loss
from odkd.regularizers import Regularizer


class Learner:
    """A student with its optimizer, loss and regularizer: everything that learning changes."""

    def __init__(
        self,
        student: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        regularizer: Regularizer,
        *,
        source: str,
        precision: str,
        device: torch.device,
    ) -> None:
        self.student, self.optimizer, self.loss, self.regularizer = student, optimizer, loss, regularizer
        self.source, self.precision, self.device = source, precision, device
        # float16 gradients underflow without scaling; disabled, the scaler passes everything through.
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def step(self, images_BCHW: Tensor, labels_BHW: Tensor) -> dict[str, Tensor]:
        """One update on one batch. Returns the loss and its parts by name, as scalars on the device."""
        labels_BHW = labels_BHW.long()
        with autocast(self.device, self.precision):
            logits_BKHW = self.student(images_BCHW)
        logits_BKHW = self.regularizer.adjust_logits(logits_BKHW, labels_BHW)
        parts = {self.loss.name: self.loss(logits_BKHW, labels_BHW)}
        penalty = self.regularizer.penalty(self.student, images_BCHW, logits_BKHW)
        if penalty is not None:
            parts["regularizer"] = penalty
        total = torch.stack(list(parts.values())).sum() if penalty is not None else parts[self.loss.name]
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.regularizer.after_update(self.student)
        return {name: value.detach() for name, value in parts.items()} | {"total": total.detach()}

    def learn(self, bank: Bank, positions: Sequence[int], *, batch_size: int) -> dict[str, float]:
        """One pass over `positions` in the order given. Returns the mean of each loss over updates.

        An empty selection changes nothing and returns no losses. Losses are read from the device once.
        """
        self.student.train()
        history: list[dict[str, Tensor]] = []
        for start in range(0, len(positions), batch_size):
            batch = bank.get(positions[start : start + batch_size])
            history.append(self.step(batch.images_BCHW, batch.labels[self.source]))
        if not history:
            return {}
        return {name: torch.stack([losses[name] for losses in history]).double().mean().item() for name in history[0]}

    def state_dict(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "regularizer": self.regularizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.regularizer.load_state_dict(state["regularizer"])
        self._scaler.load_state_dict(state["scaler"])
