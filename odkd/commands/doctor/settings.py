"""Settings of this machine and environment that slow a run down, or make it fail: threads, limits, shared memory."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from odkd.commands.doctor.findings import Finding, Section

MOST_SPINS = 100_000  # looks for work before a waiting thread sleeps; odkd sets 1,000 where nothing is set
FEWEST_FILES = 1024  # that a process may have open
SMALL_SHM = 64 * 2**20  # bytes; what a container gets where nothing is set
SHOWN = (  # variables that a bug report needs; no others are shown
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"),
    *("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_DUPLICATE_LIB_OK"),
    *("CUDA_VISIBLE_DEVICES", "ATEN_CPU_CAPABILITY", "LD_PRELOAD", "SLURM_CPUS_PER_TASK", "MPLBACKEND"),
)


def check_settings(environment: Mapping[str, str]) -> Section:
    """Look for settings that people are surprised by."""
    from odkd.common.threads import usable_cores

    cores, _ = usable_cores(environment)
    findings = [*thread_findings(environment, cores), *limit_findings(open_files(), shared_memory())]
    if not findings:
        findings = [Finding("ok", "no setting of threads, limits or shared memory is in the way")]
    facts: dict[str, Any] = {name: environment[name] for name in SHOWN if name in environment}
    return Section(findings, {"platform": platform.platform(), "memory_bytes": memory_bytes(), **facts})


def thread_findings(environment: Mapping[str, str], cores: int) -> list[Finding]:
    """Return what variables of OpenMP and the like do to a run.

    Args:
        environment: variables of the process.
        cores: that it may use.
    """
    found = []
    given = environment.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > cores:
        text = f"OMP_NUM_THREADS={given}, and this process may use {cores} of the cores: threads wait for each other"
        found.append(Finding("warning", text, f"unset it, or OMP_NUM_THREADS={cores}"))
    elif given.isdecimal() and 0 < int(given) < cores:
        found.append(Finding("note", f"OMP_NUM_THREADS={given} leaves {cores - int(given)} of {cores} cores unused"))
    elif given and not given.replace(",", "").isdecimal():
        found.append(Finding("warning", f"OMP_NUM_THREADS={given} is no number of threads", "unset it"))
    spins = environment.get("GOMP_SPINCOUNT", "")
    is_long = spins.isdecimal() and int(spins) > MOST_SPINS
    for name, is_set in {
        "OMP_WAIT_POLICY": environment.get("OMP_WAIT_POLICY", "").lower() == "active",
        "GOMP_SPINCOUNT": is_long or spins.lower() in ("infinite", "infinity"),
        "KMP_BLOCKTIME": environment.get("KMP_BLOCKTIME", "").lower() == "infinite",
    }.items():
        if is_set:
            text = f"{name}={environment[name]}: waiting threads keep their cores busy, which slows jobs side by side"
            found.append(Finding("warning", text, "unset it; odkd lets them sleep soon"))
    for name in ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"):
        if environment.get(name, "").lower() not in ("", "false", "none", "disabled"):
            text = f"{name}={environment[name]}: the jobs of a sweep may all be bound to the same cores"
            found.append(Finding("warning", text, "unset it where several jobs run at once"))
    if environment.get("KMP_DUPLICATE_LIB_OK", "").lower() in ("1", "true"):
        text = "KMP_DUPLICATE_LIB_OK is set: two OpenMP runtimes in one process are not reported, and may hang"
        found.append(Finding("warning", text, "unset it, and see what imports says of OpenMP"))
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        found.append(Finding("note", "CUDA_VISIBLE_DEVICES hides every GPU"))
    if preloaded := environment.get("LD_PRELOAD"):
        names = ", ".join(Path(path).name for path in preloaded.replace(":", " ").split())
        found.append(Finding("note", f"LD_PRELOAD loads {names} into every process"))
    return found


def limit_findings(num_files: int | None, shm_bytes: int | None) -> list[Finding]:
    """Return whether the limit of open files and the shared memory are enough; None = not known.

    >>> [finding.status for finding in limit_findings(256, 2**33)]
    ['warning']
    """
    found = []
    if num_files is not None and 0 < num_files < FEWEST_FILES:
        text = f"a process may have {num_files} files open; many videos and label stores need more"
        found.append(Finding("warning", text, f"ulimit -n {4 * FEWEST_FILES}"))
    if shm_bytes is not None and shm_bytes <= SMALL_SHM:
        text = f"/dev/shm has {shm_bytes / 2**20:.0f} MiB, too little for Ray and for loaders of other libraries"
        found.append(Finding("note", text, "docker run --shm-size=8g"))
    return found


def open_files() -> int | None:
    """Return how many files this process may have open; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def shared_memory(folder: Path = Path("/dev/shm")) -> int | None:
    """Return the bytes of the shared memory; None where there is none."""
    return shutil.disk_usage(folder).total if folder.is_dir() else None


def memory_bytes() -> int:
    """Return the memory of the machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def variables_of_system() -> Mapping[str, str]:
    """Return the environment as the user has set it, without what odkd adds itself."""
    from odkd.common.threads import SPINS

    is_ours = os.environ.get("GOMP_SPINCOUNT") == SPINS
    return {name: value for name, value in os.environ.items() if not (is_ours and name == "GOMP_SPINCOUNT")}
