"""Sweeps as processes: four jobs at a time on one store, kills, Ctrl-C; the same command finishes the rest."""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sweep_command import FOUR_AT_A_TIME, GRID, Workplace, check_mlflow, kill_all

NUM_REPEATS = int(os.environ.get("ODKD_REPEATS", "1"))  # 10 before a release
FOUR = ["window.learn=4,6", "seed=0,1"]
THREE = ["seed=0,1,2"]
TWO_AT_A_TIME = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("repeat", range(NUM_REPEATS))
def test_eighteen_jobs_four_at_a_time_label_once_and_share_one_database(tmp_path: Path, repeat: int) -> None:
    place = Workplace(tmp_path / str(repeat))
    record = place.run(*GRID, *FOUR_AT_A_TIME)
    assert place.statuses() == {"finished": 18}
    assert record["status"] == "finished"
    assert record["metric"] == "total/miou"
    assert set(place.labelled().values()) == {1}
    assert len(place.labelled()) == 30
    num_iterations = len(next(iter(place.metrics().values()))[0].splitlines())
    check_mlflow(place, 18, num_iterations)
    log = place.log.read_text()
    assert "locked" not in log
    assert "has not received" not in log
    assert "18 finished" in log


@pytest.mark.slow
@pytest.mark.timeout(900 * NUM_REPEATS)
def test_a_sweep_killed_at_random_moments_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = Workplace(tmp_path / "undisturbed")
    undisturbed.run(*FOUR, *TWO_AT_A_TIME)
    expected = undisturbed.metrics()
    num_lines = undisturbed.num_lines()
    generator = random.Random(7)
    for repeat in range(NUM_REPEATS):
        place = Workplace(tmp_path / f"killed{repeat}")
        launcher = TWO_AT_A_TIME if repeat % 2 == 0 else []
        for wanted in sorted(generator.sample(range(num_lines), 2)):
            process = place.start(*FOUR, *launcher)
            place.wait_until(lambda wanted=wanted, place=place: place.num_lines() >= wanted, process)
            assert kill_all(process) == -signal.SIGKILL
        assert place.num_lines() < num_lines, "too late to kill"
        place.run(*FOUR, *launcher)
        assert place.metrics() == expected
        assert sum(place.statuses()[name] for name in ("finished", "skipped", "resumed")) == 4
        check_mlflow(place, 4, num_lines // 4)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("launcher", [[], TWO_AT_A_TIME], ids=["in turn", "side by side"])
def test_one_ctrl_c_ends_a_sweep_soon_and_the_same_command_resumes_it(tmp_path: Path, launcher: list[str]) -> None:
    place = Workplace(tmp_path)
    process = place.start(*THREE, *launcher)
    place.wait_until(lambda: place.num_lines() >= 9, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    assert process.wait(60) == 130
    log = place.log.read_text()
    assert "the same command goes on from here" in log
    assert "Traceback" not in log
    assert place.sweep()["status"] == "killed"
    assert place.statuses()["not_run"] >= 1
    states = {run["status"] for run in map(read, place.outputs.glob("runs/*/run.json"))}
    assert states <= {"killed", "finished"}
    assert ("KILLED",) in place.query("SELECT status FROM runs")
    assert ("RUNNING",) not in place.query("SELECT status FROM runs")
    place.run(*THREE, *launcher)
    assert place.statuses()["not_run"] == 0
    check_mlflow(place, 3, place.num_lines() // 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_whose_process_dies_does_not_affect_others(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    process = place.start(*THREE, *TWO_AT_A_TIME)
    place.wait_until(lambda: place.num_lines() >= 2, process)
    (sweep,) = place.outputs.glob("sweeps/*")

    def victims() -> list[dict[str, Any]]:
        """Return the running jobs that have a checkpoint."""
        running = [job for job in map(read, sweep.glob("jobs/*.json")) if job["status"] == "running" and job["run"]]
        return [job for job in running if (place.outputs / job["run"] / "checkpoint.pt").is_file()]

    place.wait_until(victims, process)
    os.kill(victims()[0]["pid"], signal.SIGKILL)
    assert process.wait() == 1
    assert place.statuses() == {"finished": 2, "failed": 1}
    (failed,) = [job for job in place.sweep()["jobs"] if job["status"] == "failed"]
    assert "its process died" in failed["error"]
    assert sorted(place.query("SELECT status FROM runs")) == [("FAILED",), ("FINISHED",), ("FINISHED",), ("KILLED",)]
    place.run(*THREE, *TWO_AT_A_TIME, "run.report=true")
    assert place.statuses() == {"skipped": 2, "resumed": 1}
    assert len(list(place.outputs.glob("sweeps/*/report.html"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_jobs_end_when_only_the_launching_process_is_killed(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    process = place.start("window.learn=4", "seed=0,1", *TWO_AT_A_TIME)
    place.wait_until(lambda: place.num_lines() >= 2, process)
    process.kill()
    process.wait()
    runs = list(place.outputs.glob("runs/*/run.json"))
    for _ in range(600):
        if all(read(run)["status"] != "running" for run in runs):
            break
        time.sleep(0.1)
    assert {read(run)["status"] for run in runs} == {"killed"}
    workers = [read(path)["pid"] for path in place.outputs.glob("sweeps/*/jobs/*.json")]
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, workers))


def is_alive(pid: int) -> bool:
    """True for a process that exists and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    return False


def read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record
