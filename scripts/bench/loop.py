"""Online loop compared with the bare network: wall time of iterations over the same calls on resident tensors.

`odkd.stages.online.online` runs unchanged. Its window times the bare network between iterations, so that each
iteration has a bare measurement directly before and after it. The time of an iteration covers everything between two
positions: select, prefetch, read, learn, evaluate, count, save predictions, record, and checkpoint when due.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import perf_counter

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.dataset import make_video
from bench.job import ONLY_TEST_WINDOWS, PRECISIONS, SMALL, call_online, make_parts, overrides
from bench.network import BareNetwork
from odkd.data.window import Step, Window

CASE = Case(
    question="What does the loop cost beyond the network?",
    method="`stages/online.py` runs unchanged. Before and after each iteration, a separate student does the same "
    "number of forward, loss, backward, optimizer and evaluation calls on tensors in memory: the baseline and the "
    "limit. An iteration is everything between two positions: select, read, learn, evaluate, count, predictions, "
    "metrics, and checkpoints when due. *The rest* is what lies between learning and evaluating.",
    repeats=4,
    seconds=110,
)
PAIRS, STRIDE = 4, 8
# Trained and evaluated frames per iteration, near 67:20. At 720p only a few, to finish within minutes: fixed costs per
# iteration then weigh ten times as much as with window=standard.
SIZES = {(360, 480): (6, 2), (720, 1280): (3, 1)}
BARE = "bare network"


@dataclass(frozen=True)
class PacedWindow(Window):
    """A window that calls `bare` before and after each iteration with a full training window, `pairs` of them."""

    pairs: int = 1
    bare: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
    # Seconds of training and of evaluation, before the first iteration and after each.
    bare_seconds: list[tuple[float, float]] = field(default_factory=list)
    loop_seconds: list[float] = field(default_factory=list)

    def num_iterations(self, num_positions: int) -> int:
        wanted = -(-self.learn // self.step) + self.pairs
        assert super().num_iterations(num_positions) >= wanted, "the video is too short"
        return wanted

    def steps(self, num_positions: int, start: int = 0) -> Iterator[Step]:
        for step in super().steps(num_positions, start):
            is_full = step.position >= self.learn
            if is_full and not self.bare_seconds:
                self.bare_seconds.append(self.bare())
            started = perf_counter()
            yield step
            if is_full:
                self.loop_seconds.append(perf_counter() - started)
                self.bare_seconds.append(self.bare())

    def bare_between(self) -> list[tuple[float, float]]:
        """Return the bare seconds of training and evaluation beside each iteration: the mean of before and after."""
        return [
            ((learn_before + learn_after) / 2, (evaluate_before + evaluate_after) / 2)
            for (learn_before, evaluate_before), (learn_after, evaluate_after) in pairwise(self.bare_seconds)
        ]


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return iteration, learning, evaluation and the rest, by size and precision."""
    sizes, pairs = ({SMALL: (4, 2)}, 2) if quick else (SIZES, PAIRS)
    results = []
    for size, (learn, test) in sizes.items():
        for name, settings in PRECISIONS.items():
            window, run_folder = paced_run(folder, size, (learn, test), settings, pairs=pairs, stride=STRIDE)
            results += describe(window, run_folder, name, size_name(size))
    return results


def paced_run(
    folder: Path, size: tuple[int, int], frames: tuple[int, int], settings: Sequence[str], *, pairs: int, stride: int
) -> tuple[PacedWindow, Path]:
    """Run a job with `frames` = (learned, tested) an iteration; return its window, which has the times, and folder."""
    learn, test = frames
    job = overrides(folder, make_video(folder, size), size=size, stride=stride, learn=learn, test=test)
    parts = make_parts([*job, *ONLY_TEST_WINDOWS, *settings])
    batches = [parts.bank.get([position]) for position in range(learn)]
    examples = [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]
    network = BareNetwork.of(parts.learner)
    network.learn(examples[:1])
    parts.bank.retain([])
    window = PacedWindow(learn, test, test, pairs, lambda: (network.learn(examples), network.evaluate(examples[:test])))
    parts.window = window
    return window, call_online(parts, folder / "run").folder


def describe(window: PacedWindow, run_folder: Path, name: str, size: str) -> list[Result]:
    """Return the results of a run; the parts of an iteration are from timing.jsonl."""
    bare = window.bare_between()
    lines = [json.loads(line)["metrics"] for line in (run_folder / "timing.jsonl").read_text().splitlines()]
    learned = [line["time/learn_seconds"] for line in lines[-len(bare) :]]
    evaluated = [line["time/evaluate_seconds"] for line in lines[-len(bare) :]]
    rest = [total - a - b for total, a, b in zip(window.loop_seconds, learned, evaluated, strict=True)]
    what = f"{window.learn} + {window.test} frames, {name}"
    rows = (
        (f"iteration, {what}", window.loop_seconds, [sum(both) for both in bare], True),
        (f"learning, {what}", learned, [both[0] for both in bare], False),
        (f"evaluation, {what}", evaluated, [both[1] for both in bare], False),
    )
    results = [
        measured(quantity, ours, "ms", size=size, scale=1000, baseline=(BARE, theirs), headline=headline)
        for quantity, ours, theirs, headline in rows
    ]
    return [*results, measured(f"the rest, {what}", rest, "ms", size=size, scale=1000)]
