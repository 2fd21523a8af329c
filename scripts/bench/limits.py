"""The physical limits of the machine, against which all other cases are read."""

import subprocess
import sys
from pathlib import Path

import torch

from bench.core.case import Case
from bench.core.limits import bytes_per_second, durable_write_seconds, flops_per_second
from bench.core.result import Result, measured
from bench.core.timing import seconds_of
from odkd.common.numerics import is_fast_on_cpu

CASE = Case(
    question="What are the limits of this machine?",
    method="A copy of 256 MiB by all threads; products of 2048x2048 matrices by all threads; writing 4 KB and 64 MB "
    "until the disk has them (fsync); the start of a Python process that does nothing.",
    repeats=5,
    seconds=5,
)
ROUNDS = 5
SMALL_WRITE, LARGE_WRITE = 4096, 64_000_000


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return memory bandwidth, arithmetic, the disk and the start of a process."""
    rounds = range(2 if quick else ROUNDS)
    small, large = ([durable_write_seconds(folder, size) for _ in rounds] for size in (SMALL_WRITE, LARGE_WRITE))
    process = [seconds_of(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in rounds]
    products = {"float32": torch.float32}
    if is_fast_on_cpu("bfloat16"):  # otherwise one product takes minutes
        products["bfloat16"] = torch.bfloat16
    return [
        measured("copy in memory", [bytes_per_second() for _ in rounds], "GB a second", scale=1e-9, better="higher"),
        *(
            measured(
                f"product of matrices, {name}",
                [flops_per_second(dtype, repeats=1) for _ in rounds],
                "GFLOP a second",
                scale=1e-9,
                better="higher",
            )
            for name, dtype in products.items()
        ),
        measured("durable write of 4 KB", small, "ms", scale=1000),
        measured("durable write of 64 MB", large, "ms", scale=1000),
        measured("start of a Python process", process, "ms", scale=1000),
    ]
