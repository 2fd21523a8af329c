"""A sweep says how many of its jobs have ended, run and failed: a bar in a terminal, lines elsewhere."""

import logging
import sys
from pathlib import Path

import pytest
from terminal import in_terminal, screen
from tiny_settings import TINY

from odkd.common.files import write_json
from odkd.runs.sweeps import sweep as sweep_module
from odkd.runs.sweeps.plan import SweepPlan
from odkd.runs.sweeps.sweep import Sweep


def test_without_a_terminal_a_line_counts_the_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweep_module, "LINE_SECONDS", 0.0)
    plan = SweepPlan(tmp_path / "outputs" / "sweeps" / "study", "0123", "odkd -m", (), ("seed",), fail_fast=False)
    with caplog.at_level(logging.INFO), Sweep(plan) as sweep:
        sweep.add([["seed=0"], ["seed=1"], ["seed=2"], ["seed=3"]])
        for number, status in enumerate(("skipped", "finished", "failed", "running")):
            note = {"number": number, "status": status, "run": None, "seconds": 1.0, "error": None}
            write_json(plan.job_file(number), note)
        sweep.gather()
    assert any(record.getMessage().startswith("sweep 3/4 jobs (1 running, 1 failed) (") for record in caplog.records), (
        caplog.text
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_in_a_terminal_the_bar_of_a_sweep_tears_no_line(tmp_path: Path, cache: Path, launcher: list[str]) -> None:
    words = ["-m", *TINY, "seed=0,1", "run.overlay_video=false", f"paths.cache={cache}", *launcher]
    written = in_terminal([sys.executable, "-m", "odkd", *words], folder=tmp_path)
    assert "sweep (" in written
    lines = screen(written)
    assert not [line for line in lines if "%|" in line]
    table = lines.index(next(line for line in lines if line.startswith("job  seed")))
    assert [line.split()[:3] for line in lines[table + 1 : table + 3]] == [
        ["0", "0", "finished"],
        ["1", "1", "finished"],
    ]
    ends = [line for line in lines[:table] if " finished, total/miou " in line]
    assert len(ends) == 2
