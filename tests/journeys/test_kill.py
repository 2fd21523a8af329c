"""kill -9 at random moments, then the same command: the bits of an undisturbed run, and no step twice in MLflow."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

NUM_KILLS = 20
COMMAND = [
    *(sys.executable, "-m", "odkd"),
    *("debug=smoke", "window.learn=8", "window.test=4", "window.step=4"),
    *("teacher.label_noise=0.1", "tracking.seconds=0.5", "run.overlay_video=true"),
]


def start(folder: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen([*COMMAND, *overrides], cwd=folder, env=environment, stdout=log, stderr=log)


def phase(folder: Path) -> str:
    """Return the phase of a run, from its folder."""
    if list(folder.glob("outputs/runs/*/plots")):
        return "writing results"
    if (runs := list(folder.glob("outputs/runs/*/metrics.jsonl"))) and (lines := runs[0].read_text().splitlines()):
        return f"after iteration {len(lines) - 1}"
    if list(folder.glob("outputs/cache/labels/*/*/labels")):
        return "labelling"
    return "decoding" if list(folder.glob("outputs/cache/frames/*")) else "starting"


def wait_for(process: "subprocess.Popen[bytes]", folder: Path, wanted: str) -> None:
    """Wait until the run is in this phase, past it, or has ended."""
    order = ["starting", "decoding", "labelling", *(f"after iteration {n}" for n in range(100)), "writing results"]
    while process.poll() is None and order.index(phase(folder)) < order.index(wanted):
        time.sleep(0.005)


def published(folder: Path) -> tuple[str, str]:
    (run,) = (folder / "outputs" / "runs").iterdir()
    return (run / "metrics.jsonl").read_text(), (run / "summary.json").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_anywhere_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    assert start(undisturbed).wait() == 0, (undisturbed / "log.txt").read_text()
    expected = published(undisturbed)
    num_iterations = len(expected[0].splitlines())

    generator = random.Random(0)
    kills: list[str] = []
    for chain in range(NUM_KILLS // 5):
        folder = tmp_path / f"chain{chain}"
        folder.mkdir()
        overhead = "1e9" if chain % 2 else "0.01"  # a checkpoint after each iteration, and the default
        middle = sorted(generator.sample(range(num_iterations), 2))
        for wanted in ["decoding", "labelling", *(f"after iteration {n}" for n in middle), "writing results"]:
            process = start(folder, f"run.checkpoint_overhead={overhead}")
            wait_for(process, folder, wanted)
            time.sleep(generator.uniform(0, 0.3))
            process.kill()
            if process.wait() == -signal.SIGKILL:
                kills.append(phase(folder))
        process = start(folder, f"run.checkpoint_overhead={overhead}")
        process.wait()
        assert process.returncode == 0, (folder / "log.txt").read_text()
        assert published(folder) == expected

        with contextlib.closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as database:
            for key in ("test/miou", "test/iou/road", "time/learn_seconds"):
                rows = database.execute("SELECT step FROM metrics WHERE key = ? ORDER BY step", [key]).fetchall()
                log = (folder / "log.txt").read_text()
                assert [step for (step,) in rows] == list(range(num_iterations)), f"{key}\n{log}"
            assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
            (final,) = database.execute("SELECT value FROM metrics WHERE key = 'summary/total/miou'").fetchall()
            assert final[0] == json.loads(expected[1])["total/miou"]
    print("killed", *kills, sep="\n  ")
    assert len(kills) > NUM_KILLS // 2, "too late to kill"
    assert len({kill.split()[0] for kill in kills}) > 2, "the kills hit only two phases"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_terminated_run_is_marked_killed_and_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "outputs" / "runs").glob("*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert json.loads((run / "run.json").read_text())["status"] == "killed"
    assert start(tmp_path).wait() == 0
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


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
    assert len(list((tmp_path / "outputs" / "cache" / "synthetic").iterdir())) <= 2  # the dataset and its lock
