"""Two processes at once, of different runs: one cache, one dashboard. Kills at every write: tests/faults."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [
    *(sys.executable, "-m", "odkd"),
    *("debug=smoke", "window.learn=8", "window.test=4", "window.step=4"),
    *("teacher.label_noise=0.1", "tracking.seconds=0.5", "run.overlay_video=true"),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_of_different_runs_share_one_cache_and_one_dashboard(tmp_path: Path) -> None:
    processes = []
    for seed in (1, 2):
        with (tmp_path / f"log{seed}.txt").open("wb") as log:
            command = [*COMMAND, f"seed={seed}"]
            processes.append(
                subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=log)
            )
    assert [p.wait() for p in processes] == [0, 0], [(tmp_path / f"log{s}.txt").read_text() for s in (1, 2)]
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 2
    rendered = [path for path in (tmp_path / "outputs" / "cache" / "synthetic").iterdir() if path.is_dir()]
    assert len(rendered) == 1
