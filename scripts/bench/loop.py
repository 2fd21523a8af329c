"""Online loop compared with the bare network: wall time of iterations over the same calls on resident tensors.

`odkd.stages.online.online` runs unchanged. Its window times the bare network between iterations, so that each
iteration has a bare measurement directly before and after it. The time of an iteration covers everything between two
positions: select, prefetch, read, learn, evaluate, count, save predictions, record, and checkpoint when due.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.dataset import make_dataset
from bench.job import ONLY_TEST_WINDOWS, call_online, make_parts, overrides
from bench.network import BareNetwork
from odkd.data.window import Step, Window

PAIRS = 5
STRIDE = 25
# Trained and evaluated frames per iteration, near 67:20. At 720p only a few, to finish within minutes: fixed costs per
# iteration then weigh ten times as much as with window=standard.
CASES = {(360, 480): (20, 6), (720, 1280): (7, 2)}
PRECISIONS: dict[str, list[str]] = {
    "float32": [],
    "bfloat16 + channels_last": ["precision=bfloat16", "channels_last=true"],
}


@dataclass(frozen=True)
class PacedWindow(Window):
    """A window that calls `bare` before and after each iteration with a full training window."""

    bare: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
    # Seconds of training and of evaluation, before the first iteration and after each.
    bare_seconds: list[tuple[float, float]] = field(default_factory=list)
    loop_seconds: list[float] = field(default_factory=list)

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


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per size and precision."""
    return [
        measure_case(folder, size, learn, test, name, settings)
        for size, (learn, test) in CASES.items()
        for name, settings in PRECISIONS.items()
    ]


def measure_case(
    folder: Path, size: tuple[int, int], learn: int, test: int, name: str, settings: list[str]
) -> dict[str, object]:
    """Measure the loop at one size and precision; return its row."""
    num_positions = (-(-learn // test) + PAIRS) * test
    root = make_dataset(folder, height=size[0], width=size[1], num_frames=num_positions * STRIDE, stride=STRIDE)
    job = overrides(folder, root, size=size, stride=STRIDE, learn=learn, test=test)
    parts = make_parts([*job, *ONLY_TEST_WINDOWS, *settings])
    batches = [parts.bank.get([position]) for position in range(learn)]
    examples = [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]
    network = BareNetwork(parts.learner.student, precision=parts.cfg.precision)
    network.learn(examples[:1])
    parts.bank.retain([])
    window = PacedWindow(learn, test, test, lambda: (network.learn(examples), network.evaluate(examples[:test])))
    parts.window = window
    run = call_online(parts, folder / "run")
    return {
        "size": f"{size[1]}x{size[0]}",
        "precision": name,
        "frames": f"{learn}+{test}",
        **compare(window, run.folder),
    }


def compare(window: PacedWindow, run_folder: Path) -> dict[str, object]:
    """Return the ratios of iterations and bare measurements; parts of an iteration are from timing.jsonl."""
    bare = [
        ((learn_before + learn_after) / 2, (evaluate_before + evaluate_after) / 2)
        for (learn_before, evaluate_before), (learn_after, evaluate_after) in pairwise(window.bare_seconds)
    ]
    pairs = len(bare)
    lines = [json.loads(line)["metrics"] for line in (run_folder / "timing.jsonl").read_text().splitlines()][-pairs:]
    learned = [line["time/learn_seconds"] for line in lines]
    evaluated = [line["time/evaluate_seconds"] for line in lines]
    ratios = [loop / sum(parts) for loop, parts in zip(window.loop_seconds, bare, strict=True)]
    rest = [total - a - b for total, a, b in zip(window.loop_seconds, learned, evaluated, strict=True)]
    return {
        "pairs": pairs,
        "bare_seconds": median(map(sum, bare)),
        "loop_over_bare": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "learn_ratio": median(a / b[0] for a, b in zip(learned, bare, strict=True)),
        "evaluate_ratio": median(a / b[1] for a, b in zip(evaluated, bare, strict=True)),
        "rest_ms": 1000 * median(rest),
    }
