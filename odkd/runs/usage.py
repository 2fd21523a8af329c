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
from pathlib import Path
from typing import Any

import psutil

from odkd.common.files import cut_torn_line
from odkd.runs.mlflow_client import import_mlflow
from odkd.runs.results import read_lines

logger = logging.getLogger(__name__)
MEGABYTE = 1e6  # bytes, as MLflow counts


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
            process, monitors = psutil.Process(), _monitors()
            process.cpu_percent()  # the first answer covers no time span and is meaningless
            while not self._ended.wait(self._seconds):
                line = {"sample": sample, "time": time.time(), "metrics": _measure(process, monitors)}
                with self._path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                sample += 1
        except Exception as error:  # a full disk, for example, must not end a training
            logger.warning("system metrics stop here: %s", error)


def _monitors() -> list[Any]:
    """Return MLflow's monitors of the machine; the one of GPUs only if a GPU can be monitored (nvidia-ml-py)."""
    import_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    cpu: Any = CPUMonitor  # MLflow's monitors have no types
    gpu: Any = GPUMonitor
    found: list[Any] = [cpu()]
    with contextlib.suppress(ImportError, RuntimeError):
        found.append(gpu())
    return found


def _measure(process: psutil.Process, monitors: list[Any]) -> dict[str, float]:
    """Return one sample: the values of the machine, and of this process (above 100 % it uses more than one core)."""
    found = {
        "process_cpu_percentage": process.cpu_percent(),
        "process_memory_megabytes": process.memory_info().rss / MEGABYTE,
    }
    for monitor in monitors:
        monitor.collect_metrics()
        found |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    return {f"system/{name}": round(value, 1) for name, value in found.items()}
