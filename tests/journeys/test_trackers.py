"""MLflow, TensorBoard and Weights & Biases of one real run that is killed and goes on: the same numbers and steps."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from extras import need
from tiny_settings import TINY
from tracked_numbers import of_mlflow, of_tensorboard, of_wandb

from odkd.runs.results import read_run, status_of

TRACKERS = "tracking=[mlflow,tensorboard,wandb]"


@pytest.mark.slow
def test_three_trackers_of_a_killed_and_resumed_run_agree(tmp_path: Path, empty_database: Path, cache: Path) -> None:
    need("tensorboard")
    need("wandb")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "mlflow.db").write_bytes(empty_database.read_bytes())
    words = [*(word for word in TINY if not word.startswith("tracking")), TRACKERS, "tracking.seconds=0.2"]
    words += ["dataset.prepare.period_seconds=10", f"paths.cache={cache}", "run.checkpoint_overhead=1.0"]
    command = [sys.executable, "-m", "odkd", *words]
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=log, stdout=log, start_new_session=True)
    deadline = time.monotonic() + 200
    while not list(outputs.glob("wandb/offline-run-*/*.wandb")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = (outputs / "runs").iterdir()
    assert status_of(run) == "running", (tmp_path / "log").read_text()
    subprocess.run(command, cwd=tmp_path, stderr=log, stdout=log, check=True, timeout=300)
    log.close()

    known = of_mlflow(outputs / "mlflow.db")
    assert of_wandb(outputs) == known
    rounded = {key: float(np.float32(value)) for key, value in known.items()}
    assert of_tensorboard(outputs / "tensorboard" / run.name) == rounded
    lines = read_run(run).metrics
    assert {step for key, step in known if key == "test/miou"} == {line["iteration"] for line in lines}
    text = (tmp_path / "log").read_text()
    assert "tensorboard --logdir" in text
    assert "wandb sync" in text
    assert "Traceback" not in text
