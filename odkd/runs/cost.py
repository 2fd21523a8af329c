"""What a run costs besides its iterations' times: seconds of each process, peak memory, the teacher's labelling.

cost.json is no part of a run's numbers: it differs from machine to machine, and from one process of a run to the next.
"""

import contextlib
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from odkd.common.files import write_json
from odkd.data.labels.store import LabelStore
from odkd.runs.results import cost_of


class Cost:
    """Measures this process from its construction on; `write` keeps what the run's earlier processes have written.

    Peak memory is that of the process since then where the system can forget its old peak (Linux), else since
    the process began: in a sweep of many jobs in one process, an earlier job's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started, self._since = time.perf_counter(), datetime.now(UTC).isoformat()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets the peak resident set size
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def write(self, run_folder: Path, stores: Sequence[Path] = ()) -> None:
        """Write cost.json; `stores` are the folders of the teacher's labels, if the run used any.

        Raises:
            OSError: as the system gives it (a full disk, say).
        """
        known = cost_of(run_folder)
        earlier = [entry for entry in known.get("processes", []) if entry["started"] != self._since]
        peaks = {"peak_memory_bytes": peak_memory_bytes()}
        if self._device.type == "cuda":
            peaks["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(self._device)
        now = {"started": self._since, "seconds": time.perf_counter() - self._started, **peaks}
        teacher = labelling_cost(stores) if stores else known.get("teacher")
        write_json(run_folder / "cost.json", {"processes": [*earlier, now], "teacher": teacher})


def peak_memory_bytes() -> int | None:
    """The largest resident set of this process since its peak was reset; None where the system does not tell."""
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
    """Frames and seconds of all sessions that made these labels, by whichever run, and on what; None if unknown."""
    sessions = [record for folder in stores for record in LabelStore(folder).sessions()]
    if not sessions:
        return None
    return {
        "frames": sum(len(record["frames"]) for record in sessions),
        "seconds": sum(record["seconds"] for record in sessions),
        "devices": sorted({f"{record['device']} of {record['host']}" for record in sessions}),
        "last": max(record["updated"] for record in sessions),
    }
