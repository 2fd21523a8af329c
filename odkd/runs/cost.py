"""The cost of a run (cost.json): seconds and peak memory of each process, and the time for the teacher's labels.

cost.json is not part of a run's results: it differs between machines, and between the processes of one run.
"""

import contextlib
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from odkd.common.progressions import num_packed
from odkd.data.labels.store import LabelStore
from odkd.runs.records import write_record_of
from odkd.runs.results import cost_of


class Cost:
    """The cost of this process since construction; `write` keeps the entries of the run's earlier processes.

    Peak memory counts from construction where the system can reset the old peak (Linux). Elsewhere it counts from
    the start of the process, so in a sweep with several jobs in one process it may belong to an earlier job.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started, self._since = time.perf_counter(), datetime.now(UTC).isoformat()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets the peak resident set size
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @property
    def seconds(self) -> float:
        """Seconds since construction."""
        return time.perf_counter() - self._started

    def write(self, run_folder: Path, stores: Sequence[Path] = ()) -> None:
        """Write cost.json; `stores` are the folders of the teacher's labels, if the run used any.

        Raises:
            OSError: the file cannot be written (a full disk, for example).
        """
        known = cost_of(run_folder)
        earlier = [entry for entry in known.get("processes", []) if entry["started"] != self._since]
        peaks = {"peak_memory_bytes": peak_memory_bytes()}
        if self._device.type == "cuda":
            peaks["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(self._device)
        now = {"started": self._since, "seconds": self.seconds, **peaks}
        teacher = labelling_cost(stores) if stores else known.get("teacher")
        write_record_of(run_folder / "cost.json", {"processes": [*earlier, now], "teacher": teacher})


def peak_memory_bytes() -> int | None:
    """Return the largest resident set of this process since its peak was reset; None if the system hides it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def labelling_cost(stores: Sequence[Path]) -> dict[str, Any] | None:
    """Return frames, seconds and devices of all sessions that made these labels, in any run; None if unknown."""
    sessions = [record for folder in stores for record in LabelStore(folder).sessions()]
    if not sessions:
        return None
    return {
        "frames": sum(num_packed("frames", record) for record in sessions),
        "seconds": sum(record["seconds"] for record in sessions),
        "devices": sorted({f"{record['device']} of {record['host']}" for record in sessions}),
        "last": max(record["updated"] for record in sessions),
    }
