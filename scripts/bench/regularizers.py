"""Cost of each regularizer: time of a training pass over one without it, and memory."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from bench.dataset import make_dataset
from bench.job import make_parts, overrides
from odkd.config.known import CONF
from odkd.config.parts import Parts

PAIRS, SIZE, STRIDE, FRAMES = 3, (360, 480), 25, 8
SETTINGS = ["precision=bfloat16", "channels_last=true", "++regularizer.warmup_passes=1"]
WITHOUT_WARMUP = ("none", "ace", "derpp")


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per regularizer of conf/regularizer."""
    root = make_dataset(folder, height=SIZE[0], width=SIZE[1], num_frames=24 * STRIDE, stride=STRIDE)
    job = overrides(folder, root, size=SIZE, stride=STRIDE, learn=FRAMES, test=FRAMES)
    plain = make_parts([*job, *SETTINGS[:2]])
    rows = [
        measure_one(name, plain, job) for name in sorted(path.stem for path in (CONF / "regularizer").glob("*.yaml"))
    ]
    plain.close()
    return rows


def measure_one(name: str, plain: Parts, job: list[str]) -> dict[str, object]:
    """Measure passes over FRAMES frames, half of them replayed, after the first consolidation; return the row."""
    settings = SETTINGS[:2] if name in WITHOUT_WARMUP else SETTINGS
    parts = make_parts([*job, *settings, f"regularizer={name}"])
    learn_pass(parts), learn_pass(parts), learn_pass(plain)
    early = memory_mib(parts)
    ratios = [learn_pass(parts) / learn_pass(plain) for _ in range(PAIRS)]
    for number in range(20 - 2 - PAIRS):
        parts.learner.learn(parts.bank, [[number]], stream_positions=[number], kept=range(FRAMES))
    late = memory_mib(parts)
    weights = sum(p.numel() * p.element_size() for p in parts.learner.student.parameters()) / 2**20
    parts.close()
    return {
        "regularizer": name,
        "pass_over_plain": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "weights_mib": weights,
        "remembers_mib": early,
        "after_20_passes": late,
    }


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
