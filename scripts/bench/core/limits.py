"""Physical limits of this machine, measured beside what they bound: memory, arithmetic, and the disk."""

import os
from pathlib import Path
from time import perf_counter

import torch

from bench.core.timing import seconds_of

MATRIX = 2048  # rows and columns of the matrices that measure the speed of arithmetic


def copy_seconds(num_bytes: int, *, repeats: int = 3) -> float:
    """Return the seconds of a copy of so many bytes in memory by all threads, the fastest of some."""
    source = torch.ones(max(1, num_bytes // 4), dtype=torch.float32)
    target = torch.empty_like(source)
    return min(seconds_of(lambda: target.copy_(source)) for _ in range(repeats))


def bytes_per_second() -> float:
    """Return the bytes that all threads copy a second; each is read once and written once."""
    num_bytes = 256 * 2**20
    return num_bytes / copy_seconds(num_bytes)


def flops_per_second(dtype: torch.dtype, *, repeats: int = 3) -> float:
    """Return the multiplications and additions a second in a product of large matrices, by all threads."""
    left, right = (torch.rand(MATRIX, MATRIX).to(dtype) for _ in range(2))
    left @ right
    return 2 * MATRIX**3 / min(seconds_of(lambda: left @ right) for _ in range(repeats))


def durable_write_seconds(folder: Path, num_bytes: int) -> float:
    """Return the seconds of writing so many bytes to a new file until the disk has them (fsync)."""
    path, content = folder / "durable-write", b"\1" * num_bytes
    started = perf_counter()
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    seconds = perf_counter() - started
    path.unlink()
    return seconds
