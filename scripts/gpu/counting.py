"""What a frame's scores cost on the device: arg-max and counts, and another way to count them that odkd might take.

`torch.histc` of integers needs no wait and no sorting, which `scatter_add_` does under deterministic=true. It is
measured here, and its counts are compared, before the loop relies on it.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from gpu.place import Place
from gpu.result import Result
from odkd.evaluation.metrics import count_bins_without_waiting

CLASSES, BINS, ROUNDS = 19, 20 * 19, 10


def measure_counting(place: Place, result: Result) -> None:
    """Add a table of milliseconds a frame of 1280x720 (32x64 in a dry run), and whether the two counts are equal."""
    height, width = (32, 64) if place.is_dry else (720, 1280)
    generator = torch.Generator().manual_seed(0)
    logits_BKHW = torch.randn(1, CLASSES, height, width, generator=generator).to(place.device)
    last_BKHW = logits_BKHW.contiguous(memory_format=torch.channels_last)
    bins_BP = (torch.rand(1, height * width, generator=generator) ** 4 * BINS).short().to(place.device)
    ways: dict[str, Callable[[], Tensor]] = {
        "arg-max": lambda: logits_BKHW.max(1).indices,
        "arg-max, channels_last": lambda: last_BKHW.max(1).indices,
        "counts by scatter_add_": lambda: count_bins_without_waiting(bins_BP, BINS),
        "counts by histc": lambda: by_histc(bins_BP),
    }
    for is_deterministic in (True, False):
        torch.use_deterministic_algorithms(is_deterministic, warn_only=True)
        for name, way in ways.items():
            seconds: list[float] = []
            for _ in range(ROUNDS + 2):
                place.wait()
                began = time.perf_counter()
                way()
                place.wait()
                seconds.append(time.perf_counter() - began)
            result.row(
                "scores of a frame", way=name, deterministic=is_deterministic, **{"ms": 1000 * median(seconds[2:])}
            )
    differing = int((by_histc(bins_BP) != count_bins_without_waiting(bins_BP, BINS)).sum())
    result.figure("bins that histc counts otherwise", differing, at_most=0)


def by_histc(bins_BP: Tensor) -> Tensor:
    """Return how often each bin occurs in a batch of one row; on the CPU histc takes no integers."""
    values = bins_BP.int() if bins_BP.is_cuda else bins_BP.float()
    return torch.histc(values, BINS, 0, BINS)[None].long()
