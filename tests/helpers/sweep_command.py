"""Sweeps as a user starts them, in separate processes, with a teacher that counts its calls; and what they wrote."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tiny_settings import TINY

SMALL = [word for word in TINY if word != "tracking=none"] + ["tracking.seconds=0.5", "run.checkpoint_overhead=1e9"]
GRID = ["window.learn=4,5,6", "replay=fifo,uniform", "seed=0,1,2"]
FOUR_AT_A_TIME = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]
TEACHER = """
import os, pathlib
import numpy as np

class Counting:
    num_classes, needs_images = 11, True

    def __init__(self, classes):
        self.classes = classes

    def label(self, frames):
        log = os.open(pathlib.Path(__file__).with_name("labelled.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for number in frames.frame_numbers:
            os.write(log, f"{frames.video} {number}\\n".encode())
        os.close(log)
        return (frames.images_BHWC[..., 1] // 24).astype(np.uint8)
"""


class Workplace:
    """A folder in which sweeps are started; it has a counting teacher."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "conf" / "teacher").mkdir(parents=True)
        (folder / "counting.py").write_text(TEACHER)
        own = "defaults: [parts/common@_here_, _self_]\n_target_: counting.Counting\nname: counting\n"
        (folder / "conf" / "teacher" / "counting.yaml").write_text(own)
        self.log = folder / "log.txt"
        self.outputs = folder / "outputs"
        self.database = self.outputs / "mlflow.db"

    def start(self, *overrides: str) -> "subprocess.Popen[bytes]":
        """Start a sweep in a new session, so that all its processes can be killed."""
        teacher = ["teacher=counting", "allow_targets=[counting]", "dataset.groundtruth=null"]
        command = [sys.executable, "-m", "odkd", "--config-dir", "conf", "-m", *SMALL, *teacher, *overrides]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *overrides: str, code: int = 0) -> dict[str, Any]:
        """Run a sweep to its end and return sweep.json."""
        assert self.start(*overrides).wait() == code, self.log.read_text()
        return self.sweep()

    def sweep(self) -> dict[str, Any]:
        """Return sweep.json."""
        (path,) = self.outputs.glob("sweeps/*/sweep.json")
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    def statuses(self) -> Counter[str]:
        """Count the jobs of each status."""
        return Counter(job["status"] for job in self.sweep()["jobs"])

    def metrics(self) -> dict[str, tuple[str, str]]:
        """Return metrics.jsonl and summary.json of each run."""
        runs = sorted((self.outputs / "runs").iterdir())
        return {run.name: ((run / "metrics.jsonl").read_text(), (run / "summary.json").read_text()) for run in runs}

    def num_lines(self) -> int:
        """Count the iterations that all runs have published."""
        return sum(len(path.read_text().splitlines()) for path in self.outputs.glob("runs/*/metrics.jsonl"))

    def labelled(self) -> Counter[str]:
        """Count the teacher's calls for each frame."""
        return Counter((self.folder / "labelled.txt").read_text().splitlines())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Query MLflow's database."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return database.execute(sql).fetchall()

    def wait_until(self, is_so: Any, process: "subprocess.Popen[bytes]", seconds: float = 240) -> None:
        """Wait until the condition holds or the process has ended."""
        deadline = time.monotonic() + seconds
        while not is_so() and process.poll() is None:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


def kill_all(process: "subprocess.Popen[bytes]") -> int:
    """Kill the launching process and all jobs at once with signal 9; return the launching process's exit status."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def check_mlflow(place: Workplace, num_runs: int, num_iterations: int, status: str = "FINISHED") -> None:
    """Check one parent, one child for each job, each step once, final metrics, and names that tell what differs."""
    alive = "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'"
    tags = "SELECT run_uuid, value FROM tags WHERE key = '{}'"
    kinds = dict(place.query(tags.format("odkd.kind")))
    runs = place.query(alive)
    assert len(runs) == num_runs + 1
    assert {state for _, _, state in runs} == {status}
    (parent,) = [run for run, _, _ in runs if kinds[run] == "sweep"]
    parents = dict(place.query(tags.format("mlflow.parentRunId")))
    assert parents == {run: parent for run, _, _ in runs if run != parent}
    names = sorted(name for run, name, _ in runs if run != parent)
    assert len(set(names)) == num_runs
    assert all("seed=" in name for name in names)
    steps = place.query("SELECT run_uuid, step FROM metrics WHERE key = 'test/miou'")
    assert sorted(steps) == sorted((run, step) for run in parents for step in range(num_iterations))
    finals = place.query("SELECT run_uuid FROM metrics WHERE key = 'summary/total/miou'")
    assert sorted(run for (run,) in finals) == sorted(parents)
