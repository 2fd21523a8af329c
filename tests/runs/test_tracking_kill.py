"""Copying run folders to MLflow in real processes: kills at random times, concurrent processes, new databases."""

import multiprocessing
import os
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from fabricated_run import FabricatedRun, assert_each_step_once, images_in, outputs_folder, runs_in, sync_run, uri_of

from odkd.runs.mlflow_sync import sync

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["odkd.runs.mlflow_sync", "mlflow.store.tracking.sqlalchemy_store"])


@pytest.fixture
def outputs(tmp_path, empty_database):
    return outputs_folder(tmp_path, empty_database)


QUIET = """
import logging, os, sys
from pathlib import Path
from odkd.runs.sync import Follower
from odkd.runs.trackers.mlflow import MLflow
log = logging.FileHandler("log")
logging.basicConfig(level=logging.INFO, handlers=[log])
before = dict(os.environ)
folder, uri = sys.argv[1:]
follower = Follower(Path(folder), MLflow(uri=uri, experiment="study"), seconds=60)
follower.start()
assert follower.close(60), follower.error
assert dict(os.environ) == before
assert logging.root.handlers == [log] and not log.filters
import mlflow
assert mlflow.active_run() is None
assert not mlflow.is_tracking_uri_set()
"""


@pytest.mark.slow
def test_a_sync_to_a_new_database_prints_nothing_and_changes_no_global_state(tmp_path):
    run = FabricatedRun(tmp_path / "outputs")
    run.publish(2)
    run.end()
    command = [sys.executable, "-c", QUIET, str(run.folder), uri_of(run.outputs)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean, timeout=100)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {"mlruns"} == {"log", "outputs"}
    if "mlruns" in left:  # MLflow 2 leaves an empty folder
        assert version("mlflow-skinny").startswith("2.")
        assert not any((tmp_path / "mlruns").iterdir())
    assert (tmp_path / "log").read_text() == ""
    assert_each_step_once(run.outputs / "mlflow.db", [run])


def sync_in_process(folder: Path, uri: str) -> None:
    sync(folder, uri=uri, experiment="study", artifacts=True)


def kill_sync_often(run: FabricatedRun, *, num_kills: int) -> None:
    """Kill (-9) a process at random times of its sync, several times, while the run goes on and finally ends."""
    moments = random.Random(num_kills)
    num_killed = 0
    for kill in range(num_kills):
        run.publish(10)
        if kill == num_kills // 2:
            run.end()
        process = processes.Process(target=sync_in_process, args=(run.folder, uri_of(run.outputs)))
        process.start()
        process.join(moments.uniform(0.02, 0.2))
        process.kill()
        process.join()
        num_killed += process.exitcode == -9
    assert num_killed > num_kills // 3, "the kills came too late to test anything"
    run.publish(1)
    sync_run(run)
    assert len(runs_in(run.outputs)) == 1
    assert_each_step_once(run.outputs / "mlflow.db", [run])
    (overlay,) = run.outputs.glob("mlartifacts/*/artifacts/overlay.mp4")
    assert overlay.read_bytes() == (run.folder / "overlay.mp4").read_bytes()
    assert [step for step, _ in images_in(run.outputs, ".webp")] == [3, 3, 40, 40]


@pytest.mark.slow
def test_kills_during_a_sync_duplicate_nothing(outputs):
    kill_sync_often(FabricatedRun(outputs), num_kills=10)


def run_at_once(arguments: list[tuple[Path, str]]) -> None:
    started = [processes.Process(target=sync_in_process, args=each) for each in arguments]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * len(started)


@pytest.mark.slow
def test_concurrent_syncs_of_one_run_duplicate_nothing(outputs):
    run = FabricatedRun(outputs)
    run.publish(100)
    run.end()
    run_at_once([(run.folder, uri_of(outputs))] * 4)
    assert len(runs_in(outputs)) == 1
    assert_each_step_once(outputs / "mlflow.db", [run])


@pytest.mark.slow
def test_concurrent_first_uses_of_one_database_all_succeed(tmp_path):
    runs = [FabricatedRun(tmp_path / "outputs", key=str(index)) for index in range(4)]
    for run in runs:
        run.publish(5)
        run.end()
    run_at_once([(run.folder, uri_of(tmp_path / "outputs")) for run in runs])
    assert len(runs_in(tmp_path / "outputs")) == 4
    assert_each_step_once(tmp_path / "outputs" / "mlflow.db", runs)
