"""A long run of a student of one layer, watched from outside: memory, handles, threads, files, and rows in MLflow."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stages import OWN, write_student
from tiny_settings import TINY

SETTLED = 500  # iterations after which memory may grow no more: libraries and caches have what they need
SAMPLED_PER_SECOND = 2.0  # frames
NUM_PERIODS = 3


def soak(folder: Path, num_iterations: int, *, settled: int = SETTLED) -> dict[str, Any]:
    """Run so many iterations in a folder, and return what was seen between `settled` and the last but some."""
    write_student(folder)
    seconds = num_iterations / SAMPLED_PER_SECOND / NUM_PERIODS + 1
    command = [sys.executable, "-m", "odkd", *OWN, *TINY, f"dataset.prepare.period_seconds={seconds:.1f}"]
    command += [
        "window={learn: 2, test: 2, step: 1}",
        "tracking=mlflow",
        "tracking.seconds=1",
        "evaluation.final=false",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        samples = []
        while process.poll() is None:
            time.sleep(0.25)
            with contextlib.suppress(OSError, KeyError):  # the process may end in between
                if (sample := look(process.pid, folder))["iteration"]:
                    samples.append(sample)
    assert process.returncode == 0, (folder / "log.txt").read_text()[-2000:]
    (run,) = (folder / "outputs" / "runs").iterdir()
    done = (run / "metrics.jsonl").read_bytes().count(b"\n")
    inside = [sample for sample in samples if settled <= sample["iteration"] < done]
    assert len(inside) > 4, "the run was too short to be watched"
    first, last = inside[0], inside[-1]
    tenth = max(1, len(inside) // 10)
    early, late = (sum(s["memory"] for s in part) / tenth for part in (inside[:tenth], inside[-tenth:]))
    return {
        "iterations": done,
        "watched": last["iteration"] - first["iteration"],
        "memory_mb": round(early / 1024),
        "memory_growth": round(late / early - 1, 5),
        "files": last["files"] - first["files"],
        "most_handles": max(sample["handles"] for sample in inside),
        "most_threads": max(sample["threads"] for sample in inside),
        **in_mlflow(folder / "outputs" / "mlflow.db"),
    }


def look(pid: int, folder: Path) -> dict[str, int]:
    """Return what a process holds now: memory in KiB, handles, threads, and files and folders below its outputs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    published = list(folder.glob("outputs/runs/*/metrics.jsonl"))
    return {
        "iteration": published[0].read_bytes().count(b"\n") if published else 0,
        "memory": int(status["VmRSS"]),
        "handles": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
        "files": sum(len(files) + len(folders) for _, folders, files in os.walk(folder / "outputs")),
    }


def in_mlflow(database: Path) -> dict[str, Any]:
    """Return the steps that MLflow has of the score, how many twice, and the seconds that its page waits for them."""
    from odkd.runs.mlflow_client import import_mlflow

    client = import_mlflow().MlflowClient(f"sqlite:///{database}")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        steps = [step for (step,) in connection.execute("SELECT step FROM metrics WHERE key = 'test/miou'")]
    started = time.monotonic()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`odkd.kind` = 'run'")
    history = client.get_metric_history(run.info.run_id, "test/miou")
    seconds = time.monotonic() - started
    assert len(history) == len(steps)
    return {
        "mlflow_steps": len(steps),
        "mlflow_twice": len(steps) - len(set(steps)),
        "mlflow_seconds": round(seconds, 2),
    }
