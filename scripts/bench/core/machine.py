"""The machine that was measured: what it is, which versions and commit ran, and what else it was doing."""

import os
import platform
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import psutil
import torch

from odkd.common.errors import PACKAGE
from odkd.common.optional import version_of
from odkd.common.threads import usable_cores
from odkd.runs.environment import git, processor

PACKAGES = ("torch", "numpy", "av", "mlflow", "opencv-python", "torchcodec", "decord2", "scikit-learn")
LOOK_SECONDS = 0.5
BUSY_CORES = 0.15  # of other processes; the system's own work is less


def machine() -> dict[str, str]:
    """Return what numbers depend on beside the code; two results are of one machine if these are equal."""
    graphics = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": processor(),
        "cores": str(num_cores()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "gpu": graphics,
        "system": f"{platform.system()} {platform.machine()}",
    }


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return usable_cores()[0]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that do the work or are compared with."""
    others = {"mlflow": ("mlflow-skinny",), "opencv-python": ("opencv-python-headless",)}
    found = {name: version_of(name, *others.get(name, ())) for name in PACKAGES}
    return {"python": platform.python_version()} | {name: version for name, version in found.items() if version}


def commit() -> str:
    """Return the commit of odkd's source, marked if files differ from it; "unknown" outside a checkout."""
    head = git(PACKAGE, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown"
    return f"{head} with changes" if git(PACKAGE, "status", "--porcelain") else head


@dataclass(frozen=True)
class Load:
    """What the machine did beside a case, in cores.

    Args:
        average: the system's load average of the last minute, which counts earlier cases too.
        before: CPU time of all processes, a second of it a second, just before the case, which waited.
        during: the same of all other processes while the case ran.
        stolen: what a virtual machine's host took away meanwhile.
    """

    average: float
    before: float
    during: float
    stolen: float

    @property
    def warning(self) -> str | None:
        """A sentence if the machine was busy, otherwise None."""
        most = max(self.before, self.during, self.stolen)
        if most < BUSY_CORES:
            return None
        who = "the host of this virtual machine" if self.stolen == most else "other processes"
        return (
            f"{who} took up to {most:.1f} of {num_cores()} cores; seconds are worth little, ratios less than usual: "
            "run it again when nothing else runs"
        )


class LoadWatch:
    """Measures the load before a case, at its construction, and during it, at `stop`."""

    def __init__(self) -> None:
        self._average = os.getloadavg()[0]
        started, busy = perf_counter(), _busy()
        sleep(LOOK_SECONDS)
        self._before = max(0.0, (_busy() - busy) / (perf_counter() - started))
        self._started, self._busy, self._own, self._stolen = perf_counter(), _busy(), _own(), _stolen()

    def stop(self) -> Load:
        """Return the load; processes that the case has started and waited for are its own."""
        seconds = perf_counter() - self._started
        others = (_busy() - self._busy) - (_own() - self._own)
        stolen = (_stolen() - self._stolen) / seconds
        return Load(self._average, self._before, max(0.0, others / seconds), stolen)


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0) + getattr(times, "softirq", 0))


def _stolen() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def _own() -> float:
    return sum(os.times()[:4])


def description(run: dict[str, Any]) -> str:
    """Return one line on the machine, versions, commit and date of a case's run."""
    of, tools = run["machine"], run["versions"]
    parts = [f"{of['cores']} cores of {of['processor']}", of["memory"]]
    parts += [] if of["gpu"] == "none" else [of["gpu"]]
    parts += [f"{name} {tools[name]}" for name in ("torch", "av") if name in tools]
    return ", ".join([*parts, f"commit {run['commit']}", run["date"][:10]])
