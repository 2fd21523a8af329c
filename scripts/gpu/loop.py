"""The loop as the parts call it: rendered videos, and a window that measures around iterations."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from bench.network import Example

from gpu.place import Place
from odkd.config.parts import Parts
from odkd.data.window import Step, Window

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


def examples_of(parts: Parts, num: int) -> list[Example]:
    """Return the first frames of the stream, each as a batch on the device."""
    batches = [parts.bank.get([position]) for position in range(num)]
    return [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]
