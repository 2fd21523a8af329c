"""System metrics during a run: CPU, memory and GPU, sampled into the run folder (system.jsonl).

They are not part of a run's results. The names are those of MLflow's own system metrics, so that its dashboard shows
them in the usual place. A resumed run continues their numbering.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from odkd.common.files import cut_torn_line
from odkd.common.optional import how_to_install, is_installed
from odkd.runs.records import read_lines

logger = logging.getLogger(__name__)
MEGABYTE = 1e6  # bytes, as MLflow counts
Measure = Callable[[], dict[str, float]]


class Sampler:
    """A background thread that writes a sample every `seconds`; a context manager. It never raises into the run."""

    def __init__(self, run_folder: Path, seconds: float) -> None:
        self._path = run_folder / "system.jsonl"
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="odkd-sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the current sample; all samples are in the file then."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            cut_torn_line(self._path)
            sample = len(read_lines(self._path))
            process, measures = psutil.Process(), [machine_usage, *filter(None, [gpu_usage()])]
            process.cpu_percent()  # the first answer covers no time span and is meaningless
            psutil.cpu_percent()
            while not self._ended.wait(self._seconds):
                line = {"sample": sample, "time": time.time(), "metrics": _sample(process, measures)}
                with self._path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                sample += 1
        except Exception as error:  # a full disk, for example, must not end a training
            logger.warning("system metrics stop here: %s", error)


def machine_usage() -> dict[str, float]:
    """Return load of the CPU since the last call and memory in use, of the whole machine."""
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
    }


def gpu_usage() -> Measure | None:
    """Return a function that measures memory, load and power of each NVIDIA GPU; None where that is not possible.

    The log says so where there is a GPU that could be measured.
    """
    if not is_installed("pynvml"):
        if torch.version.cuda is not None and torch.cuda.is_available():
            logger.info("load, memory and power of the GPU are not sampled: %s", how_to_install("pynvml"))
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no driver
        return None

    def measure() -> dict[str, float]:
        found: dict[str, float] = {}
        for number, gpu in enumerate(gpus):
            for values_of in (_gpu_memory, _gpu_load, _gpu_power):
                with contextlib.suppress(pynvml.NVMLError):  # virtual GPUs and parts of one do not report everything
                    found |= {f"gpu_{number}_{name}": value for name, value in values_of(pynvml, gpu).items()}
        return found

    return measure


def _gpu_memory(nvml: Any, gpu: Any) -> dict[str, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
    used, total = memory.used, memory.total
    return {"memory_usage_percentage": 100 * used / total, "memory_usage_megabytes": used / MEGABYTE}


def _gpu_load(nvml: Any, gpu: Any) -> dict[str, float]:
    return {"utilization_percentage": nvml.nvmlDeviceGetUtilizationRates(gpu).gpu}


def _gpu_power(nvml: Any, gpu: Any) -> dict[str, float]:
    milliwatts, limit = nvml.nvmlDeviceGetPowerUsage(gpu), nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
    return {"power_usage_watts": milliwatts / 1000, "power_usage_percentage": 100 * milliwatts / limit}


def _sample(process: psutil.Process, measures: list[Measure]) -> dict[str, float]:
    """Return one sample: the values of the machine, and of this process (above 100 % it uses more than one core)."""
    found = {
        "process_cpu_percentage": process.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / MEGABYTE,
    }
    for measure in measures:
        found |= measure()
    return {f"system/{name}": round(value, 1) for name, value in found.items()}
