"""The cores that a process may use, by what limits it, and how its threads wait."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from odkd.common import threads
from odkd.common.threads import cores_of_control_groups, default_threads, usable_cores


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A folder with /proc/self/cgroup and files below /sys/fs/cgroup."""
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2.5),  # a container, version 2
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a.slice/b.service", {"a.slice/cpu.max": "300000 100000", "a.slice/b.service/cpu.max": "max 100000"}, 3),
        ("0::/a.slice/b", {"a.slice/cpu.max": "300000 100000", "a.slice/b/cpu.max": "50000 100000"}, 0.5),
        (
            "4:cpu,cpuacct:/docker/f00\n3:cpuset:/docker/f00",  # a container, version 1: its path is the host's
            {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            1.5,
        ),
        ("1:cpu:/\n0::/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("1:cpuset:/", {}, None),
    ],
)
def test_the_limits_of_control_groups_are_found(
    tmp_path: Path, groups: str, files: dict[str, str], cores: float | None
) -> None:
    assert cores_of_control_groups(machine(tmp_path, groups, files)) == cores


def test_the_smallest_limit_counts_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(threads, "cores_of_affinity", lambda: 64)
    free, limited = tmp_path / "free", machine(tmp_path / "limited", "0::/", {"cpu.max": "650000 100000"})
    assert usable_cores({}, free) == (64, "")
    assert usable_cores({}, limited) == (7, "the limit of its control group")
    assert usable_cores({"SLURM_CPUS_PER_TASK": "4"}, limited) == (4, "SLURM_CPUS_PER_TASK")
    monkeypatch.setattr(threads, "cores_of_affinity", lambda: 2)
    assert usable_cores({"SLURM_CPUS_PER_TASK": "4"}, limited) == (2, "the affinity of the process")


def test_threads_stay_as_torch_has_them_unless_something_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch takes physical cores on some machines: fewer than the process may use."""
    monkeypatch.setattr(threads, "usable_cores", lambda _: (8, ""))
    assert default_threads(8, {}) == (8, "")
    assert default_threads(4, {}) == (4, "")
    monkeypatch.setattr(threads, "usable_cores", lambda _: (2, "the limit of its control group"))
    assert default_threads(4, {}) == (2, "the limit of its control group")
    assert default_threads(4, {"OMP_NUM_THREADS": "4"}) == (4, "OMP_NUM_THREADS=4")


@pytest.mark.parametrize("chosen", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}])
def test_waiting_threads_sleep_soon_unless_the_user_has_chosen(chosen: dict[str, str]) -> None:
    free = {key: value for key, value in os.environ.items() if key not in threads.OF_WAITING}
    code = "import json, os, sys, odkd; assert 'torch' not in sys.modules; print(json.dumps(dict(os.environ)))"
    done = subprocess.run([sys.executable, "-c", code], env=free | chosen, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    kept = {key: found[key] for key in threads.OF_WAITING if key in found}
    assert kept == (chosen or {"GOMP_SPINCOUNT": threads.SPINS})
