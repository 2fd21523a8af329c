"""Measurements of seconds and of memory: a call is repeated, after it has warmed up."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

from odkd.runs.cost import peak_memory_bytes

BUSY_SECONDS = 0.5  # of watching
WARM_CALLS, WARM_SHARE = 3, 0.3  # at least so many calls, and so much of the measured time, do not count
FEWEST, MOST = 5, 5000  # calls that count
Call = Callable[[int], None]  # gets the number of the call


def time_calls(call: Call, seconds: float) -> list[float]:
    """Return the seconds of each call, about `seconds` in all, after calls that do not count.

    Args:
        call: returns when its work is done, that of the device included.
        seconds: to measure.
    """
    started, number = time.perf_counter(), 0
    while number < WARM_CALLS or time.perf_counter() - started < WARM_SHARE * seconds:
        call(number)
        number += 1
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < FEWEST or (time.perf_counter() - started < seconds and len(found) < MOST):
        before = time.perf_counter()
        call(number + len(found))
        found.append(time.perf_counter() - before)
    return found


def busy_cores() -> float:
    """Return how many cores other programs use just now, as measured while this one waits."""
    return float(psutil.cpu_percent(BUSY_SECONDS)) / 100 * (psutil.cpu_count() or 1)


def summary_of(seconds: list[float]) -> dict[str, float]:
    """Return count, mean and the percentiles 50, 90, 99; between two calls they are interpolated.

    >>> summary_of([0.1, 0.2, 0.3])["p50"], summary_of([0.1, 0.2, 0.3])["count"]
    (0.2, 3)
    """
    points = {f"p{point}": float(np.percentile(seconds, point)) for point in (50, 90, 99)}
    return {"count": len(seconds), "mean": float(np.mean(seconds)), **points}


class Memory:
    """The growth of this process since construction, or what was allocated on the GPU: bytes at the worst moment."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0 if device.type == "cuda" else psutil.Process().memory_info().rss

    def peak(self, call: Call, times: int = 2) -> int:
        """Return the bytes at the worst moment of these calls, the network's own included."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            _give_back()
            _reset_peak()
        for number in range(times):
            call(number)
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return max(0, (peak_memory_bytes() or psutil.Process().memory_info().rss) - self._before)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets the peak resident set size
    except OSError:  # another system: the peak is that since the process began
        return


def _give_back() -> None:
    """Return freed memory to the system, where the C library can, so that it does not count."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
