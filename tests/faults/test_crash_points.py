"""Kills, errors of the disk and signals at any write: the same command ends with the same bits, and nothing twice.

A sample; `make faults` makes all trials. Trials are forks of a process with a preloaded shim: `driver.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shim import compiled, compiler

DRIVER = Path(__file__).with_name("driver.py")
pytestmark = pytest.mark.skipif(compiler() is None, reason="the shim needs Linux and a C compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


def drive(library: Path, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the records that the driver writes."""
    to = folder / "trials.jsonl"
    command = [sys.executable, str(DRIVER), *arguments, "--to", str(to), "--work", str(folder)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "MLFLOW"))}
    done = subprocess.run(command, env=environment | {"LD_PRELOAD": str(library)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [json.loads(line) for line in to.read_text().splitlines()]


def check(records: list[dict[str, Any]], num_trials: int) -> list[dict[str, Any]]:
    """Check that no trial broke a promise, and return the trials."""
    trials = [record for record in records if "how" in record]
    broken = [
        [trial["stage"], trial["point"], trial["how"], trial["hit"], trial["faults"]]
        for trial in trials
        if trial["faults"]
    ]
    assert not broken, json.dumps(broken, indent=1)
    assert len(trials) == num_trials
    assert sum(bool(trial["hit"]) for trial in trials) > 0.8 * num_trials, "points were missed"
    return trials


@pytest.mark.slow
def test_labels_killed_at_any_write_are_made_whole_by_the_same_command(library: Path, tmp_path: Path) -> None:
    records = drive(library, tmp_path, "--stages", "label", "--kills", "2")
    points = next(record["points"] for record in records if "points" in record)
    assert len(points) > 400
    assert {"create", "write", "fsync", "rename", "link", "unlink", "mkdir"} <= {operation for operation, _ in points}
    assert {trial["code"] for trial in check(records, 2)} == {-9}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_pages_or_mlflow_survives_kills_errors_and_signals(library: Path, tmp_path: Path) -> None:
    stages = ["pages", "online with MLflow"]
    check(drive(library, tmp_path, "--stages", *stages, "--kills", "2", "--errors", "2", "--endings", "1"), 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mckd_and_a_sweep_survive_kills(library: Path, tmp_path: Path) -> None:
    check(drive(library, tmp_path, "--stages", "mckd", "sweep", "--kills", "3"), 6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_baselines_of_mckd_survive_kills(library: Path, tmp_path: Path) -> None:
    check(drive(library, tmp_path, "--stages", "baseline", "--kills", "2"), 8)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_under_a_clock_survive_kills_with_each_pace_and_with_several_streams(
    library: Path, tmp_path: Path
) -> None:
    check(drive(library, tmp_path, "--stages", "clock", "several", "--kills", "2"), 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sync_survives_kills_and_a_new_database_is_made_again(library: Path, tmp_path: Path) -> None:
    check(drive(library, tmp_path, "--stages", "sync", "--kills", "6"), 6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_at_once_other_rights_and_wrong_clocks_change_nothing(library: Path, tmp_path: Path) -> None:
    for record in drive(library, tmp_path, "--scenarios"):
        assert not record.get("faults"), record
