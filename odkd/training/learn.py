"""Learning: one update on a batch, one pass over selected positions, a copy for virtual passes."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from odkd.common.device import autocast, upload
from odkd.data.tensor_bank import Bank
from odkd.students.layers import tapped
from odkd.students.rates import set_rate
from odkd.training.apart import forward_apart, losses_apart, sizes_of_kinds
from odkd.training.augment import Augmentation
from odkd.training.average import Average
from odkd.training.batches import frames_of_pass
from odkd.training.features.distillation import FeatureDistillation
from odkd.training.loss_values import mean_losses
from odkd.training.losses import HasParts, Loss, SoftLabels, SoftLoss, WeighsClasses, wants_soft
from odkd.training.losses.soft import resize_labels
from odkd.training.pixel_counts import PixelCounts
from odkd.training.regularizers import Regularizer, Update
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.updates.delivery import Delivery

AHEAD = 2  # batches that are read in the background while one is learned from
Given = Mapping[str, Tensor] | None  # the teacher's features, by name
Step = Callable[[Update, SoftLabels | None, Given], dict[str, Tensor]]  # makes an update; returns its losses


class Learner:
    """A student with its optimizer, loss and regularizer: everything that learning changes.

    Args:
        source: label source of the training.
        precision: "float32", "bfloat16" or "float16".
        soft_source: label source of the soft labels, for a loss that needs them; None = `source`.
        augment: augmentation of each batch; None = none.
        features: feature distillation; None = none.
        average: moving average of the student, which is evaluated in its place; None = none.
    """

    def __init__(
        self,
        student: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss | SoftLoss,
        regularizer: Regularizer,
        *,
        source: str,
        precision: str,
        device: torch.device,
        soft_source: str | None = None,
        augment: Augmentation | None = None,
        average: Average | None = None,
        features: FeatureDistillation | None = None,
    ) -> None:
        self.student, self.optimizer, self.loss, self.regularizer = student, optimizer, loss, regularizer
        self.source, self.precision, self.device = source, precision, device
        self.soft_source = (soft_source or source) if wants_soft(loss) else None
        self.augment, self.average, self.features = augment, average, features
        self._num_passes = 0  # seeds augmentation
        self._pixels = PixelCounts()
        self.schedule: LRScheduler | None = None  # of the learning rate, stepped after each update; the caller sets it
        self.updates = Delivery(student)  # every iteration changes all weights; the config may choose another
        # float16 gradients underflow without scaling; a disabled scaler changes nothing.
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    @property
    def evaluated(self) -> nn.Module:
        """The network that is scored: the student, its average, or the copy of it at the camera."""
        own = self.student if self.average is None else self.average.network
        return own if self.updates.camera is None else self.updates.camera

    @property
    def saved(self) -> nn.Module:
        """The network that a run along a stream saves."""
        return self.student if self.average is None or not self.average.is_saved else self.average.network

    def forward(self, network: nn.Module, images_BCHW: Tensor) -> Tensor:
        """Return logits [B, K, H, W], computed in the run's precision."""
        with autocast(self.device, self.precision):
            logits_BKHW: Tensor = network(images_BCHW)
        return logits_BKHW

    def step(self, update: Update, soft: SoftLabels | None = None, given: Given = None) -> dict[str, Tensor]:
        """Make one update on one batch; return the loss and its parts by name, as scalars on the device.

        The parts are weighted and sum to "total"; so do the losses of frames that are forwarded apart.
        """
        with tapped(self.student, [] if self.features is None else self.features.layers) as taken:
            logits_BKHW = update.forward(self.student, update.images_BCHW)
        adjusted_BKHW = self.regularizer.adjust_logits(logits_BKHW, update)
        labels_BHW = resize_labels(update.labels_BHW, adjusted_BKHW.shape[2:])  # logits may be smaller than images
        if update.parts:
            parts = losses_apart(self._losses, adjusted_BKHW, labels_BHW, soft, update.parts)
        else:
            parts = self._losses(adjusted_BKHW, labels_BHW, soft)
        if self.features is not None and given is not None:
            parts |= self.features.losses(taken, given, update.parts)
        penalty = self.regularizer.penalty(self.student, logits_BKHW, update)
        if penalty is not None:
            parts["regularizer"] = penalty
        values = list(parts.values())
        total = torch.stack(values).sum() if len(values) > 1 else values[0]
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimizer)  # a fused optimizer leaves `.grad` scaled, and `after_update` reads it
        self.updates.before_step()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.schedule is not None:
            self.schedule.step()
        self.updates.after_step()
        self.regularizer.after_update(self.student, update)
        if self.average is not None:
            self.average.update(self.student)
            self.updates.after_average()
        return {name: value.detach() for name, value in parts.items()} | {"total": total.detach()}

    def _losses(self, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None) -> dict[str, Tensor]:
        loss: Any = self.loss
        if isinstance(loss, HasParts):
            return loss.parts(logits_BKHW, labels_BHW, soft)
        extra = [soft] if wants_soft(loss) else []
        return {loss.name: loss(logits_BKHW, labels_BHW, *extra)}

    def learn(
        self,
        bank: Bank,
        batches: Sequence[Sequence[int]],
        *,
        stream_positions: Collection[int] = (),
        kept: Collection[int] = (),
        is_apart: bool = False,
        told: Callable[[int], object] = lambda _: None,
        step: Step | None = None,
    ) -> dict[str, float]:
        """Make one pass over `batches` of positions, one update each; return the mean of each loss, none without any.

        Args:
            stream_positions: positions that are past only since the last iteration; all others are replayed.
            kept: positions that a later iteration may learn from.
            is_apart: forward the stream frames of a batch and then its replayed ones, so that batch norm does not mix
                their statistics; the loss is the sum of both. A batch has its stream frames first.
            told: called after each update with the number of its positions.
            step: makes each update; None = `self.step`.
        """
        self.student.train()
        if batches and isinstance(self.loss, WeighsClasses) and self.loss.weighs_classes:
            learned = [position for batch in batches for position in batch]
            self.loss.weigh(self._pixels.count(bank, self.source, learned))
        history: list[dict[str, Tensor]] = []
        for number, positions in enumerate(batches):
            batch = bank.get(positions)
            bank.prefetch([position for coming in batches[number + 1 : number + 1 + AHEAD] for position in coming])
            images_BCHW, labels_BHW = batch.images_BCHW, batch.labels[self.source].long()
            soft = None if self.soft_source is None else batch.soft[self.soft_source]
            name, size, given = (self._num_passes, number), images_BCHW.shape[2:], None
            if self.features is not None:
                given = self.features.given(positions, self.augment, size, name)
            if self.augment is not None:
                images_BCHW, labels_BHW, soft = self.augment(images_BCHW, labels_BHW, soft, names=name)
            apart = sizes_of_kinds(positions, stream_positions) if is_apart else ()
            update = Update(
                positions=tuple(positions),
                images_BCHW=images_BCHW,
                labels_BHW=labels_BHW,
                is_replayed_B=upload(torch.tensor([p not in stream_positions for p in positions]), self.device),
                ends_pass=number == len(batches) - 1,
                kept=kept,
                forward=forward_apart(self.forward, apart) if apart else self.forward,
                frames_of_pass=partial(frames_of_pass, bank, batches, self.source),
                parts=apart,
            )
            history.append((step or self.step)(update, soft, given))
            told(len(positions))
        self._num_passes += 1
        return mean_losses(history)

    def virtual_copy(self, learning_rate: float | None = None) -> "Learner":
        """Return a learner with copies of student and optimizer, state included, without regularizer and augmentation.

        What it learns does not change this learner.

        Args:
            learning_rate: of the copied optimizer; None = unchanged.
        """
        if self.features is None:
            student, optimizer, features = *copy.deepcopy((self.student, self.optimizer)), None
        else:
            student, optimizer, features = self.features.copied(self.student, self.optimizer)
        if learning_rate is not None:
            set_rate(optimizer, learning_rate)
        copied = Learner(
            student,
            optimizer,
            self.loss,
            NoRegularizer(),
            source=self.source,
            precision=self.precision,
            device=self.device,
            soft_source=self.soft_source,
            features=features,
        )
        copied._scaler.load_state_dict(self._scaler.state_dict())  # a new scale may overflow and skip the step
        copied.updates = self.updates.virtual(student)
        return copied

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a finished training, as student and as its average."""
        self.student.load_state_dict(weights)
        if self.average is not None:
            self.average.load_state_dict(dict(weights))

    def restart(self, state: dict[str, Any], *, source: str, soft_source: str) -> None:
        """Start another training from a result of `state_dict()`, with other label sources."""
        self.load_state_dict(copy.deepcopy(state))
        self.source = source
        self.soft_source = soft_source if wants_soft(self.loss) else None
        self._pixels.clear()

    def state_dict(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "regularizer": self.regularizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "num_passes": self._num_passes,
            "updates": self.updates.state_dict(),
        } | {name: part.state_dict() for name, part in self._optional()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.regularizer.load_state_dict(state["regularizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._num_passes = state["num_passes"]
        for name, part in self._optional():
            if name in state or name != "schedule":  # that of the training before has ended
                part.load_state_dict(state[name])
        self.updates.load_state_dict(state.get("updates", {}))  # checkpoints of earlier versions have none

    def _optional(self) -> list[tuple[str, Any]]:
        objective = None if self.features is None else self.features.objective
        parts = {"average": self.average, "features": objective, "schedule": self.schedule}
        return [(name, part) for name, part in parts.items() if part is not None]
