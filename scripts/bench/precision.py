"""Time of the bare network by memory layout, precision, fast forms, compilation and the allocator setting.

`auto` is what the default settings choose on this machine. The peak is that of a large matrix product: a learning step
of TinyNet at 1280x720 has about three times the 51 GFLOP of its forward pass.
"""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

from bench.network import BareNetwork, Example
from odkd.common.device import keep_freed_memory
from odkd.common.numerics import best_numerics
from odkd.students.equal_forms import use_fast_forms
from odkd.students.tinynet import TinyNet
from odkd.training.losses.cross_entropy import CrossEntropy

SIZE, CLASSES, ROUNDS = (720, 1280), 19, 5
BEST = best_numerics(torch.device("cpu"))
VARIANTS = {  # precision, channels_last, fast_forms, compile
    "float32": ("float32", False, False, False),
    "channels_last": ("float32", True, False, False),
    "channels_last + fast_forms": ("float32", True, True, False),
    "bfloat16": ("bfloat16", False, False, False),
    "bfloat16 + channels_last": ("bfloat16", True, False, False),
    "auto": (BEST.precision, BEST.channels_last, BEST.channels_last, False),
    "auto + compile": (BEST.precision, BEST.channels_last, BEST.channels_last, True),
}


def measure(_: Path) -> list[dict[str, object]]:
    """Return one row per variant, with its speed relative to the first one; needs no folder."""
    return [*measure_variants(), *measure_peak(), *measure_allocator()]


def measure_variants() -> list[dict[str, object]]:
    """Run all variants in turn in each round; ratios are taken within a round."""
    keep_freed_memory()
    student = TinyNet(CLASSES)
    networks = {name: make_network(student, *variant) for name, variant in VARIANTS.items()}
    learn: dict[str, list[float]] = {name: [] for name in VARIANTS}
    evaluate: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for round_number in range(ROUNDS + 1):
        for name, (network, example) in networks.items():
            learned, evaluated = network.learn([example]), network.evaluate([example])
            if round_number:  # the first round warms up and compiles
                learn[name].append(learned)
                evaluate[name].append(evaluated)
    return [
        {
            "variant": name,
            "learn_ms": 1000 * median(learn[name]),
            "evaluate_ms": 1000 * median(evaluate[name]),
            "learn_speed": median(a / b for a, b in zip(learn["float32"], learn[name], strict=True)),
            "evaluate_speed": median(a / b for a, b in zip(evaluate["float32"], evaluate[name], strict=True)),
        }
        for name in VARIANTS
    ]


def measure_peak() -> list[dict[str, object]]:
    """Return one row per precision with the speed of a matrix product of 2048x2048, the best of ten, in GFLOP/s."""
    rows: list[dict[str, object]] = []
    for name in ("float32", "bfloat16"):
        matrix = torch.rand(2048, 2048).to(getattr(torch, name))
        seconds = []
        for _ in range(10):
            started = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - started)
        rows.append({"variant": f"matrix product, {name}", "gflop_per_second": 2 * 2048**3 / min(seconds) / 1e9})
    return rows


def make_network(
    student: TinyNet, precision: str, channels_last: bool, fast_forms: bool, compiled: bool
) -> tuple[BareNetwork, Example]:
    """Return a network of one variant and a random frame in its memory layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = BareNetwork(copy.deepcopy(student).to(memory_format=layout), precision=precision)
    if fast_forms:
        network.loss = CrossEntropy()
        use_fast_forms(network.student, True)
        use_fast_forms(network.loss, True)
    if compiled:
        network.student.compile()
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.rand(1, 3, *SIZE, generator=generator).contiguous(memory_format=layout)
    return network, (images_BCHW, torch.randint(CLASSES, (1, *SIZE), generator=generator))


def measure_allocator() -> list[dict[str, object]]:
    """Measure with the allocator setting off and on in turn, each in a separate process."""
    rows: list[dict[str, object]] = []
    for name in ("float32", "bfloat16 + channels_last"):
        times: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
        for setting in ("off", "on") * 3:
            times[setting].append(run_child(setting, name))
        faster = [
            [a / b for a, b in zip(off, on, strict=True)] for off, on in zip(times["off"], times["on"], strict=True)
        ]
        rows.append(
            {
                "variant": f"{name}: allocator setting on, against off",
                "learn_ms": 1000 * median(learned for learned, _ in times["on"]),
                "evaluate_ms": 1000 * median(evaluated for _, evaluated in times["on"]),
                "learn_speed": median(ratio[0] for ratio in faster),
                "evaluate_speed": median(ratio[1] for ratio in faster),
            }
        )
    return rows


def run_child(setting: str, name: str) -> tuple[float, float]:
    """Return seconds of a training step and of an evaluation, in a process with the allocator setting on or off."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "bench.precision", setting, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    learned, evaluated = json.loads(done.stdout)
    return learned, evaluated


def child(setting: str, name: str) -> None:
    """Print seconds of a training step and of an evaluation."""
    if setting == "on":
        keep_freed_memory()
    network, example = make_network(TinyNet(CLASSES), *VARIANTS[name])
    network.learn([example])
    network.evaluate([example])
    steps = [(network.learn([example]), network.evaluate([example])) for _ in range(3)]
    print(json.dumps([median(seconds) for seconds in zip(*steps, strict=True)]))


if __name__ == "__main__":
    child(*sys.argv[1:])
