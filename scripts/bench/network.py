"""The bare network: its calls on resident tensors, and a clock that times these calls in any loop."""

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

Example = tuple[Tensor, Any]  # normalised images [B, 3, H, W] in the run's memory layout; targets for the loss


def cross_entropy(logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Return the cross-entropy with labels int64 [B, H, W]."""
    return functional.cross_entropy(logits_BKHW.float(), labels_BHW, ignore_index=IGNORE)


class BareNetwork:
    """A copy of a student with its training calls (forward, loss, backward, Adam) and its evaluation (forward)."""

    def __init__(
        self, student: nn.Module, *, precision: str, loss: Callable[[Tensor, Any], Tensor] = cross_entropy
    ) -> None:
        self.student = copy.deepcopy(student)
        self.optimizer = torch.optim.Adam([p for p in self.student.parameters() if p.requires_grad], lr=1e-4)
        self.device = next(self.student.parameters()).device
        self.precision, self.loss = precision, loss

    def learn(self, examples: Sequence[Example]) -> float:
        """Update the student on each example; return the seconds."""
        started = time.perf_counter()
        self.student.train()
        for images_BCHW, wanted in examples:
            with autocast(self.device, self.precision):
                logits_BKHW = self.student(images_BCHW)
            loss = self.loss(logits_BKHW, wanted)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return time.perf_counter() - started

    def evaluate(self, examples: Sequence[Example]) -> float:
        """Run the student on each example; return the seconds."""
        started = time.perf_counter()
        self.student.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            for images_BCHW, _ in examples:
                self.student(images_BCHW)
        return time.perf_counter() - started


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
