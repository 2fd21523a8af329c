"""The bare network: a run's calls on resident tensors, and a clock that times these calls in any loop."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from odkd.common.device import autocast
from odkd.common.ignore import IGNORE
from odkd.training.learn import Learner

Example = tuple[Tensor, Any]  # normalised images [B, 3, H, W] in the run's memory layout; targets for the loss


def cross_entropy(logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Return the cross-entropy with labels int64 [B, H, W]."""
    return functional.cross_entropy(logits_BKHW.float(), labels_BHW, ignore_index=IGNORE)


class BareNetwork:
    """A copy of a student with its training calls (forward, loss, backward, step) and its evaluation (forward).

    It computes as the run does: with the run's loss, optimizer, precision and memory layout. What the loop takes more
    is the loop's.

    Args:
        student: copied.
        optimizer: the copy gets one of this class, with these settings.
        loss: of logits and targets.
        precision: "float32", "bfloat16" or "float16".
    """

    def __init__(
        self,
        student: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        loss: Callable[[Tensor, Any], Tensor],
        precision: str,
    ) -> None:
        self.student = copy.deepcopy(student)
        weights = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.optimizer: torch.optim.Optimizer = type(optimizer)(weights, **_settings_of(optimizer))
        self.device = next(self.student.parameters()).device
        self.precision, self.loss = precision, loss
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")

    @classmethod
    def of(cls, learner: Learner, *, loss: Callable[[Tensor, Any], Tensor] | None = None) -> "BareNetwork":
        """Return that of a run; with `loss`, it is used in place of the run's own."""
        own: Any = learner.loss
        return cls(learner.student, learner.optimizer, loss=loss or own, precision=learner.precision)

    def learn(self, examples: Sequence[Example]) -> float:
        """Update the student on each example; return the seconds."""
        started = time.perf_counter()
        self.student.train()
        for images_BCHW, wanted in examples:
            with autocast(self.device, self.precision):
                logits_BKHW = self.student(images_BCHW)
            loss = self.loss(logits_BKHW, wanted)
            self.optimizer.zero_grad(set_to_none=True)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(self.optimizer)
            self._scaler.update()
        return time.perf_counter() - started

    def evaluate(self, examples: Sequence[Example]) -> float:
        """Run the student on each example; return the seconds."""
        started = time.perf_counter()
        self.student.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            for images_BCHW, _ in examples:
                self.student(images_BCHW)
        return time.perf_counter() - started


def _settings_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the arguments that make an equal optimizer."""
    known = type(optimizer).__init__.__code__.co_varnames
    group = optimizer.param_groups[0]  # not the defaults: odkd sets `foreach` here
    return {name: value for name, value in group.items() if name in known and name != "params"}


@dataclass
class Clock:
    """Seconds spent in the network and its number of forward passes."""

    seconds: float = 0.0
    forwards: int = 0
    _started: float = 0.0

    def start(self, *_: object) -> None:
        self._started = time.perf_counter()

    def stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self.start()
            try:
                return function(*arguments, **named)
            finally:
                self.stop()

        return timed


@contextmanager
def network_clock(student: nn.Module) -> Iterator[Clock]:
    """Time the forward pass of `student`, cross-entropy, backward and optimizer steps while the block runs."""
    clock = Clock()

    def count(*_: object) -> None:
        clock.stop()
        clock.forwards += 1

    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    hooks = [
        student.register_forward_pre_hook(clock.start),
        student.register_forward_hook(count),
        register_optimizer_step_pre_hook(clock.start),
        register_optimizer_step_post_hook(clock.stop),
    ]
    backward, cross_entropy = Tensor.backward, functional.cross_entropy
    Tensor.backward = clock.around(backward)  # type: ignore[method-assign]
    functional.cross_entropy = clock.around(cross_entropy)
    try:
        yield clock
    finally:
        Tensor.backward, functional.cross_entropy = backward, cross_entropy  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
