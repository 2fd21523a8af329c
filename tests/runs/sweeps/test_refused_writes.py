"""A disk that refuses a sweep's own files for a while: the jobs go on, and the files are made up for."""

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odkd.common.files import write_json
from odkd.runs.sweeps import sweep as sweep_module
from odkd.runs.sweeps.plan import SweepPlan
from odkd.runs.sweeps.sweep import Sweep


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    return SweepPlan(tmp_path / "outputs" / "sweeps" / "study", "0123", "odkd -m", (), ("seed",), fail_fast=False)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a switch: with True, jobs.json, the second file of a sweep that is written, is refused."""
    is_refused = [False]
    monkeypatch.setattr(sweep_module, "GATHER_SECONDS", 0.01)

    def write(path: Path, value: Any) -> None:
        if is_refused[0]:
            raise OSError(errno.ESTALE, "Stale file handle")
        write_json(path, value)

    monkeypatch.setattr(sweep_module, "write_json", write)
    return lambda value: is_refused.__setitem__(0, value)


def note(plan: SweepPlan, status: str) -> None:
    write_json(plan.job_file(0), {"number": 0, "status": status, "run": None, "seconds": 1.0, "error": None})


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sweep_goes_on_and_writes_its_files_once_there_is_room(
    plan: SweepPlan, refuse: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    table = plan.folder / "jobs.json"
    with Sweep(plan) as sweep:
        sweep.add([["seed=0"]])
        refuse(True)
        note(plan, "running")
        until(lambda: "not up to date" in caplog.text)
        time.sleep(0.1)
        assert "running" not in table.read_text()
        refuse(False)
        until(lambda: "running" in table.read_text())  # although nothing has changed since
        note(plan, "finished")
        until(lambda: "finished" in table.read_text())
    assert caplog.text.count("not up to date") == 1
    assert "Stale file handle" in caplog.text
    assert json.loads((plan.folder / "sweep.json").read_text())["status"] == "finished"


def test_what_is_refused_at_the_end_is_an_error_and_leaves_the_sweep_free(
    plan: SweepPlan, refuse: Callable[[bool], None]
) -> None:
    first = Sweep(plan).__enter__()
    first.add([["seed=0"]])
    refuse(True)
    with pytest.raises(OSError, match="Stale file handle"):
        first.__exit__(None, None, None)
    refuse(False)
    with Sweep(plan) as second:
        second.add([["seed=0"]])
        note(plan, "finished")
    assert json.loads((plan.folder / "sweep.json").read_text())["status"] == "finished"


def test_a_damaged_note_of_a_job_does_not_end_the_gathering(
    plan: SweepPlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweep_module, "GATHER_SECONDS", 0.01)
    with Sweep(plan) as sweep:
        sweep.add([["seed=0"]])
        plan.job_file(0).parent.mkdir(exist_ok=True)
        plan.job_file(0).write_text("[")
        until(lambda: "not up to date" in caplog.text)
        note(plan, "finished")
        until(lambda: "finished" in (plan.folder / "jobs.json").read_text())
    assert json.loads((plan.folder / "sweep.json").read_text())["status"] == "finished"
