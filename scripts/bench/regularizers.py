"""Cost of each regularizer: time of a training pass over one without it, and memory."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.dataset import make_dataset
from bench.job import FAST, SMALL, make_parts, overrides
from odkd.config.known import CONF
from odkd.config.parts import Parts

CASE = Case(
    question="What does each regularizer cost and store?",
    method="A learning pass over 8 frames, half of them replayed, after the first consolidation, against a pass "
    "without regularizer, in turn; the tensors of its state after 20 passes, against those after 2.",
    repeats=3,
    seconds=100,
    is_long=True,
)
PAIRS, SIZE, STRIDE, FRAMES = 3, (360, 480), 25, 8
SETTINGS = [*FAST, "++regularizer.warmup_passes=1"]
WITHOUT_WARMUP = ("none", "ace", "derpp")


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return time and memory of each regularizer of conf/regularizer."""
    size = SMALL if quick else SIZE
    root = make_dataset(folder, height=size[0], width=size[1], num_frames=24 * STRIDE, stride=STRIDE)
    job = overrides(folder, root, size=size, stride=STRIDE, learn=FRAMES, test=FRAMES)
    plain = make_parts([*job, *FAST])
    names = sorted(path.stem for path in (CONF / "regularizer").glob("*.yaml"))
    results = [result for name in names for result in measure_one(name, plain, job, size_name(size))]
    plain.close()
    return results


def measure_one(name: str, plain: Parts, job: list[str], size: str) -> list[Result]:
    """Measure passes over FRAMES frames, half of them replayed, after the first consolidation."""
    settings = FAST if name in WITHOUT_WARMUP else SETTINGS
    parts = make_parts([*job, *settings, f"regularizer={name}"])
    learn_pass(parts), learn_pass(parts), learn_pass(plain)
    early = memory_mib(parts)
    pairs = [(learn_pass(parts), learn_pass(plain)) for _ in range(PAIRS)]
    for number in range(20 - 2 - PAIRS):
        parts.learner.learn(parts.bank, [[number]], stream_positions=[number], kept=range(FRAMES))
    late = memory_mib(parts)
    weights = sum(p.numel() * p.element_size() for p in parts.learner.student.parameters()) / 2**20
    parts.close()
    ours, theirs = ([pair[which] for pair in pairs] for which in (0, 1))
    return [
        measured(f"learning pass, {name}", ours, "s", size=size, baseline=("none", theirs)),
        measured(
            f"memory after 20 passes, {name}", [late], "MiB", size=size, limit=("the student's weights", [weights])
        ),
        measured(f"memory after 2 passes, {name}", [early], "MiB", size=size),
    ]


def learn_pass(parts: Parts) -> float:
    """Run one training pass; return the seconds."""
    batches = [[position] for position in range(FRAMES)]
    started = perf_counter()
    parts.learner.learn(parts.bank, batches, stream_positions=range(FRAMES // 2), kept=range(FRAMES))
    return perf_counter() - started


def memory_mib(parts: Parts) -> float:
    """Return the MiB of all tensors in the regularizer's state."""
    tensors = set(find_tensors(parts.learner.regularizer.state_dict()))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def find_tensors(value: Any) -> Iterator[torch.Tensor]:
    """Return the tensors of a nested dict."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from find_tensors(item)
