"""Weights & Biases has the numbers of MLflow at the same steps, also when the process that logs is killed."""

import os
import signal
from pathlib import Path

import pytest
from extras import need
from fabricated_run import FabricatedRun, outputs_folder, sync_run
from tracked_numbers import of_mlflow, of_wandb

from odkd.runs.results import read_run
from odkd.runs.trackers.parts import identity_of
from odkd.runs.trackers.wandb import WandB


@pytest.mark.slow
def test_wandb_has_the_numbers_of_mlflow_at_the_same_steps_after_a_kill_too(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("wandb")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):  # whoever asks a server fails
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    run = FabricatedRun(outputs_folder(tmp_path, empty_database))
    run.publish(3)
    killed = WandB(outputs=run.outputs)
    assert killed.sync(run.folder, is_last=False, sent={}) == 3
    assert killed._process is not None
    os.kill(killed._process._process.pid, signal.SIGKILL)
    run.publish(4)
    with pytest.raises(ConnectionError):
        killed.sync(run.folder, is_last=False, sent={})
    tracker = WandB(outputs=run.outputs)
    assert tracker.sync(run.folder, is_last=False, sent={}) == 7
    run.publish(2)
    run.end()
    assert not tracker.is_complete(run.folder)
    assert tracker.sync(run.folder, is_last=True, sent={}) == 2
    assert tracker.is_complete(run.folder)
    assert WandB(outputs=run.outputs).sync(run.folder, is_last=True, sent={}) == 0
    sync_run(run)
    assert of_wandb(run.outputs) == of_mlflow(run.outputs / "mlflow.db")
    tracker.forget(run.folder)
    assert not list((run.outputs / "wandb").glob("offline-run-*"))


def test_folders_of_other_runs_stay(tmp_path: Path) -> None:
    need("wandb")
    run = FabricatedRun(tmp_path / "outputs")
    others = [run.outputs / "wandb" / name for name in ("offline-run-20261129_120000-0123456789abcdef", "run-x")]
    for other in others:
        other.mkdir(parents=True)
    own = run.outputs / "wandb" / f"offline-run-20261129_120000-{identity_of(read_run(run.folder))}"
    own.mkdir()
    WandB(outputs=run.outputs).forget(run.folder)
    assert [path.is_dir() for path in (*others, own)] == [True, True, False]


def test_a_process_of_wandb_that_cannot_begin_is_one_line_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("wandb")
    run = FabricatedRun(tmp_path / "outputs")
    run.publish(1)
    monkeypatch.setattr("sys.executable", "/bin/false")
    tracker = WandB(outputs=run.outputs)
    with pytest.raises(ConnectionError, match="the process of its library has ended"):
        tracker.sync(run.folder, is_last=False, sent={})
    assert tracker._process is None
