"""Effect of memory layout, precision, compilation and the allocator setting on the time of the bare network."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.job import SMALL
from bench.network import BareNetwork, Example
from odkd.common.device import keep_freed_memory
from odkd.common.numerics import best_numerics, is_fast_on_cpu
from odkd.config.parts_student import grouped
from odkd.students.equal_forms import use_fast_forms
from odkd.students.tinynet import TinyNet
from odkd.training.losses.cross_entropy import CrossEntropy

CASE = Case(
    question="What do bf16, channels-last, faster forms, `torch.compile`, the default (auto) and the allocator gain?",
    method="The bare network of TinyNet at batch 1, all variants in turn within a round, against float32 in the usual "
    "memory layout; the allocator setting in separate processes, off and on in turn.",
    repeats=3,
    seconds=150,
    is_long=True,
)
SIZE, CLASSES, ROUNDS = (720, 1280), 19, 3
BEST = best_numerics(torch.device("cpu"))
IN_BFLOAT16 = {
    "bfloat16": ("bfloat16", False, False, False),
    "bfloat16 + channels_last": ("bfloat16", True, False, False),
}
VARIANTS = {  # precision, channels_last, fast_forms, compile
    "float32": ("float32", False, False, False),
    "channels_last": ("float32", True, False, False),
    "channels_last + fast_forms": ("float32", True, True, False),
    **(IN_BFLOAT16 if is_fast_on_cpu("bfloat16") else {}),
    "auto": (BEST.precision, BEST.channels_last, BEST.channels_last, False),
    "auto + compile": (BEST.precision, BEST.channels_last, BEST.channels_last, True),
}


def measure(folder: Path, *, quick: bool) -> list[Result]:  # noqa: ARG001 - no files are needed
    """Return the learning step and the evaluation of each variant, against those of the first."""
    size = SMALL if quick else SIZE
    return [*measure_variants(size, 1 if quick else ROUNDS), *measure_allocator(size, 1 if quick else 2)]


def measure_variants(size: tuple[int, int], rounds: int) -> list[Result]:
    """Run all variants in turn in each round; ratios are taken within a round."""
    keep_freed_memory()
    student = TinyNet(CLASSES)
    networks = {name: make_network(student, size, *variant) for name, variant in VARIANTS.items()}
    learn: dict[str, list[float]] = {name: [] for name in VARIANTS}
    evaluate: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for round_number in range(rounds + 1):
        for name, (network, example) in networks.items():
            learned, evaluated = network.learn([example]), network.evaluate([example])
            if round_number:  # the first round warms up and compiles
                learn[name].append(learned)
                evaluate[name].append(evaluated)
    return [
        measured(
            f"{what}, {name}",
            found[name],
            "ms a frame",
            size=size_name(size),
            scale=1000,
            baseline=None if name == "float32" else ("float32", found["float32"]),
            headline=name == "auto",
        )
        for name in VARIANTS
        for what, found in (("learn", learn), ("evaluate", evaluate))
    ]


def make_network(
    student: TinyNet, size: tuple[int, int], precision: str, channels_last: bool, fast_forms: bool, compiled: bool
) -> tuple[BareNetwork, Example]:
    """Return a network of one variant and a random frame in its memory layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    loss, student = CrossEntropy(), copy.deepcopy(student).to(memory_format=layout)
    use_fast_forms(loss, fast_forms)
    use_fast_forms(student, fast_forms)
    optimizer = grouped(torch.optim.Adam(student.parameters(), lr=1e-4))
    network = BareNetwork(student, optimizer, loss=loss, precision=precision)
    if compiled:
        network.student.compile()
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.rand(1, 3, *size, generator=generator).contiguous(memory_format=layout)
    return network, (images_BCHW, torch.randint(CLASSES, (1, *size), generator=generator))


def measure_allocator(size: tuple[int, int], pairs: int) -> list[Result]:
    """Measure with the allocator setting off and on in turn, each in a separate process."""
    results = []
    for name in ("float32", "bfloat16 + channels_last" if "bfloat16" in VARIANTS else "channels_last"):
        times: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
        for setting in ("off", "on") * pairs:
            times[setting].append(run_child(setting, name, size))
        results += [
            measured(
                f"{what}, {name}, allocator setting on",
                [pair[which] for pair in times["on"]],
                "ms a frame",
                size=size_name(size),
                scale=1000,
                baseline=("off", [pair[which] for pair in times["off"]]),
            )
            for which, what in enumerate(("learn", "evaluate"))
        ]
    return results


def run_child(setting: str, name: str, size: tuple[int, int]) -> tuple[float, float]:
    """Return seconds of a training step and of an evaluation, in a process with the allocator setting on or off."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "bench.precision", setting, name, *map(str, size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    learned, evaluated = json.loads(done.stdout)
    return learned, evaluated


def child(setting: str, name: str, height: str, width: str) -> None:
    """Print seconds of a training step and of an evaluation."""
    if setting == "on":
        keep_freed_memory()
    network, example = make_network(TinyNet(CLASSES), (int(height), int(width)), *VARIANTS[name])
    network.learn([example])
    network.evaluate([example])
    steps = [(network.learn([example]), network.evaluate([example])) for _ in range(3)]
    print(json.dumps([median(seconds) for seconds in zip(*steps, strict=True)]))


if __name__ == "__main__":
    child(*sys.argv[1:])
