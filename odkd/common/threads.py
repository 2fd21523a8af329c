"""CPU threads: how many a process may use, and how they wait for each other. Torch is not imported here."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from odkd.common.names import counted

# How often a thread of GNU OpenMP, which torch uses, looks for work before it sleeps. Its own 300,000 looks take 13 ms
# of a core that others need. A training step of TinyNet at 128x224 on two cores, beside two other processes, where its
# fair share is 2 times its time alone: 6.6 times with 300,000 looks, 4.8 with 10,000, 2.3 with 1,000, 2.1 with none
# (OMP_WAIT_POLICY=PASSIVE). Alone, the step takes 1.04 times as long with 1,000 looks, and 1.2 with none.
SPINS = "1000"
OF_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
OF_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def share_the_machine() -> None:
    """Let waiting threads sleep soon, unless the user has chosen; must be called before torch is imported."""
    if not any(name in os.environ for name in OF_WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def usable_cores(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> tuple[int, str]:
    """Return the number of cores that this process may use, and what limits it ("" if it may use all).

    Counted are the affinity of the process, the CPU time that its control groups allow, rounded up to whole cores, and
    the cores that Slurm has given to the task.

    Args:
        environment: variables of the process.
        root: where /proc and /sys are.
    """
    all_cores = os.cpu_count() or 1
    limits = {"the affinity of the process": cores_of_affinity() or all_cores}
    if (quota := cores_of_control_groups(root)) is not None:
        limits["the limit of its control group"] = max(1, math.ceil(quota))
    if (given := environment.get("SLURM_CPUS_PER_TASK", "")).isdecimal() and int(given):
        limits["SLURM_CPUS_PER_TASK"] = int(given)
    why = min(limits, key=lambda name: limits[name])
    return (limits[why], why) if limits[why] < all_cores else (all_cores, "")


def cores_of_affinity() -> int | None:
    """Return the number of cores on which this process may run; None where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def cores_of_control_groups(root: Path = Path("/")) -> float | None:
    """Return the CPU time a second that the process's control groups (version 1 or 2) allow it; None = no limit.

    A group's parents limit it, too. Inside a container the paths may be those of the host; its own limit then lies in
    the topmost folder.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [controllers, "cpu"] if controllers else ["", "unified"]
        below = Path(path.lstrip("/"))
        for mount in mounts:
            for group in (below, *below.parents):
                found.append(_quota(root / "sys/fs/cgroup" / mount / group))
    return min((cores for cores in found if cores is not None), default=None)


def _quota(group: Path) -> float | None:
    """Return the limit of one control group in cores; None if it has none."""
    try:
        if (newer := group / "cpu.max").is_file():
            quota, period = newer.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # ValueError: "max"
        return None


def default_threads(of_torch: int, environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """Return the number of threads of a process, and what has chosen it ("" for all cores, or as many as torch takes).

    Args:
        of_torch: what torch has chosen: OMP_NUM_THREADS, else the cores that it sees.
        environment: variables of the process.
    """
    if chosen := [f"{name}={environment[name]}" for name in OF_THREADS[:2] if name in environment]:
        return of_torch, chosen[0]
    cores, why = usable_cores(environment)
    return (cores, why) if cores <= of_torch else (of_torch, "")


def described(num_threads: int, why: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the number of threads, its reason, and how they wait, as text.

    >>> described(4, "SLURM_CPUS_PER_TASK", {"GOMP_SPINCOUNT": "1000"})
    '4 threads because of SLURM_CPUS_PER_TASK; GOMP_SPINCOUNT=1000'
    """
    waiting = [f"{name}={environment[name]}" for name in OF_WAITING if name in environment]
    return "; ".join([counted(num_threads, "thread") + (f" because of {why}" if why else ""), *waiting])
