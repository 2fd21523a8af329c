"""The loop as the parts call it: rendered videos, a window that measures around iterations, the bare network."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gpu.place import Place
from odkd.common.device import autocast
from odkd.config.parts import Parts
from odkd.data.window import Step, Window

Example = tuple[Tensor, Any]  # images [B, 3, H, W] and what the loss compares logits with, on the device
Around = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Case:
    """A size of the stream and of an iteration.

    Args:
        size: height and width, pixels.
        learn: frames that a full iteration learns from.
        test: frames that it evaluates, and by which it goes on.
        num_full: iterations with a full window.
    """

    size: tuple[int, int]
    learn: int
    test: int
    num_full: int

    @property
    def num_frames(self) -> int:
        return (-(-self.learn // self.test) + self.num_full) * self.test

    @property
    def name(self) -> str:
        return f"{self.size[1]}x{self.size[0]}"


def settings(place: Place, case: Case, *, num_frames: int | None = None) -> list[str]:
    """Return the settings of a job on a rendered video, without MLflow and without scores elsewhere in the stream."""
    seconds = (num_frames or case.num_frames) / 5
    return [
        "dataset=synthetic",
        f"dataset.size=[{case.size[0]},{case.size[1]}]",
        f"dataset.prepare={{height: {case.size[0]}, width: {case.size[1]}, num_periods: 1, period_seconds: {seconds}}}",
        *("dataset.stride=1", "dataset.domains={}", "compile=false"),
        f"window={{learn: {case.learn}, test: {case.test}, step: {case.test}}}",
        "evaluation={groundtruth: false, shift: null, segment_frames: 0, final: false}",
        "tracking=none",
        f"device={place.device}",
        f"paths={{outputs: {place.folder / 'outputs'}, cache: {place.shared / 'cache'}}}",
    ]


@dataclass(frozen=True)
class Watched(Window):
    """A window that calls `before` and `around` at each iteration with a full window; the others warm up.

    `seconds` has the time of each such iteration, from one position to the next, the device included.
    """

    before: Callable[[], None] = lambda: None
    wait: Callable[[], None] = lambda: None
    around: Around = nullcontext
    seconds: list[float] = field(default_factory=list)

    def steps(self, num_positions: int, start: int = 0) -> Iterator[Step]:
        for step in super().steps(num_positions, start):
            if step.position < self.learn:
                yield step
                continue
            self.before()
            self.wait()
            started = time.perf_counter()
            with self.around():
                yield step
            self.wait()
            self.seconds.append(time.perf_counter() - started)


class BareNetwork:
    """A copy of a student with its training calls (forward, loss, backward, step) and its evaluation (forward)."""

    def __init__(self, parts: Parts) -> None:
        self.student: nn.Module = copy.deepcopy(parts.learner.student)
        made: Any = parts.learner.optimizer
        self._optimizer = type(made)([p for p in self.student.parameters() if p.requires_grad], **_settings_of(made))
        self._device, self._precision = parts.device, parts.learner.precision
        self._scaler = torch.amp.GradScaler(parts.device.type, enabled=self._precision == "float16")
        self._loss: Any = parts.learner.loss

    def loss(self, logits_BKHW: Tensor, wanted: Any) -> Tensor:
        """Return the loss of a batch."""
        total: Tensor = self._loss(logits_BKHW, wanted)
        return total

    def learn(self, examples: Sequence[Example]) -> None:
        """Update the student on each example."""
        self.student.train()
        for images_BCHW, wanted in examples:
            with autocast(self._device, self._precision):
                logits_BKHW = self.student(images_BCHW)
            loss = self.loss(logits_BKHW, wanted)
            self._optimizer.zero_grad(set_to_none=True)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(self._optimizer)
            self._scaler.update()

    def evaluate(self, examples: Sequence[Example]) -> None:
        """Run the student on each example."""
        self.student.eval()
        with torch.inference_mode(), autocast(self._device, self._precision):
            for images_BCHW, _ in examples:
                self.student(images_BCHW)


def _settings_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    known = type(optimizer).__init__.__code__.co_varnames
    return {name: value for name, value in optimizer.defaults.items() if name in known}


def examples_of(parts: Parts, num: int) -> list[Example]:
    """Return the first frames of the stream, each as a batch on the device."""
    batches = [parts.bank.get([position]) for position in range(num)]
    return [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]
