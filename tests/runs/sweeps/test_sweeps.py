"""Sweeps on a grid: the sweep's folder, jobs that fail, isolation of jobs in one process, expansion of overrides."""

import gc
import json
import logging
import random
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_settings import TINY

from odkd.__main__ import main
from odkd.common.files import write_json
from odkd.config.known import CONF
from odkd.data.tensor_bank import Bank
from odkd.runs.outcome import JobLog
from odkd.runs.sweeps.plan import SweepPlan, read_job, sweep_key
from odkd.runs.sweeps.sweep import Sweep, SweepIsBusyError

Command = Callable[..., dict[str, Any]]
METHODS = """
import torch
from odkd.training.replay.fifo import Fifo

class Greedy(Fifo):
    def select(self, num_positions, scorer):
        return torch.empty(1 << 60)

class Broken(Fifo):
    def select(self, num_positions, scorer):
        raise KeyError("deliberately")

class Leaving(Fifo):
    def select(self, num_positions, scorer):
        raise SystemExit(0)
"""
METHOD_NAMES = {
    "greedy": "failing.Greedy",
    "broken": "failing.Broken",
    "bad": "failing.Greedy",
    "leaving": "failing.Leaving",
}


@pytest.fixture
def sweep(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `odkd -m` in this process, with replays that fail in different ways; return sweep.json."""
    (tmp_path / "conf" / "replay").mkdir(parents=True)
    (tmp_path / "failing.py").write_text(METHODS)
    for name, target in METHOD_NAMES.items():
        text = f"_target_: {target}\ncapacity: {0 if name == 'bad' else 6}\n"
        (tmp_path / "conf" / "replay" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)

    def run(*overrides: str, code: int | None = None) -> dict[str, Any]:
        common = [*TINY, f"paths.cache={cache}", "allow_targets=[failing]"]
        monkeypatch.setattr(sys, "argv", ["odkd", "--config-dir", "conf", "-m", *common, *overrides])
        with pytest.raises(SystemExit) if code is not None else warnings.catch_warnings() as ending:
            main()
        if ending is not None and code is not None:
            assert ending.value.code == code
        (path,) = Path("outputs").glob("sweeps/*/sweep.json")
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    return run


def test_failing_jobs_are_reported_and_the_other_jobs_finish(
    sweep: Command, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    record = sweep("seed=5", "seed=0", "replay=greedy,leaving,fifo,broken,bad", code=1)
    shown = capfd.readouterr()
    assert shown.out.count("seed=5 does not count: seed=0 follows") == 1
    jobs = {job["overrides"][-1].partition("=")[2]: job for job in record["jobs"]}
    assert {name: job["status"] for name, job in jobs.items()} == {
        "greedy": "failed",
        "leaving": "failed",
        "fifo": "finished",
        "broken": "failed",
        "bad": "failed",
    }
    assert record["status"] == "failed"
    assert "1 finished, 4 failed" in shown.out
    assert "Traceback" not in shown.out + shown.err
    assert record["command"] in shown.out
    assert "allocate" in jobs["greedy"]["error"]
    assert "deliberately" in jobs["broken"]["error"]
    assert "called sys.exit(0)" in jobs["leaving"]["error"]
    assert "replay.capacity=0; expected a whole number of at least 1" in jobs["bad"]["error"]
    assert jobs["bad"]["run"] is None
    stub = Path("outputs") / "sweeps" / record["name"] / "failed" / str(jobs["bad"]["number"])
    for folder in (stub, *(Path("outputs") / jobs[name]["run"] for name in ("greedy", "leaving", "broken"))):
        assert json.loads((folder / "run.json").read_text())["status"] == "failed"
        assert "Traceback" in (folder / "error.txt").read_text()
        assert (folder / "run.log").read_text().count("Traceback (") == (folder / "error.txt").read_text().count(
            "Traceback ("
        )
    log = (Path("outputs") / jobs["fifo"]["run"] / "run.log").read_text()
    assert "iteration 0/" in log
    assert "Traceback" not in log

    Path("conf/replay/bad.yaml").write_text("_target_: odkd.training.replay.fifo.Fifo\ncapacity: 5\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    repaired = sweep("seed=5", "seed=0", "replay=greedy,leaving,fifo,broken,bad", code=1)
    assert Counter(job["status"] for job in repaired["jobs"]) == {"failed": 3, "skipped": 1, "finished": 1}
    (skipped,) = [job for job in repaired["jobs"] if job["status"] == "skipped"]
    (process,) = json.loads((Path("outputs") / skipped["run"] / "cost.json").read_text())["processes"]
    assert skipped["seconds"] == round(process["seconds"], 2), "the time of the original computation"
    assert repaired["created"] == record["created"]
    assert not stub.exists()


def test_a_job_that_fails_again_before_it_opens_its_run_has_the_new_traceback(sweep: Command) -> None:
    (job,) = sweep("replay=broken", code=1)["jobs"]
    lock = Path("outputs") / job["run"] / "run.lock"
    lock.unlink()
    lock.mkdir()  # so that the run cannot be opened
    record = sweep("replay=broken", code=1)
    assert "deliberately" not in record["jobs"][0]["error"]
    stub = Path("outputs") / "sweeps" / record["name"] / "failed" / "0"
    assert (stub / "error.txt").read_text().splitlines()[-1] == record["jobs"][0]["error"]
    assert record["jobs"][0]["error"] in (stub / "run.log").read_text()


@pytest.mark.slow
def test_fail_fast_stops_at_the_first_failure_and_does_not_change_the_sweep_key(sweep: Command) -> None:
    record = sweep("replay=bad,fifo", "sweep.fail_fast=true", code=1)
    assert [job["status"] for job in record["jobs"]] == ["failed", "not_run"]
    assert "sweep.fail_fast=true, and job 0 failed" in record["jobs"][1]["error"]
    record = sweep("replay=bad,fifo", code=1)  # the fixture finds one sweep folder only
    assert [job["status"] for job in record["jobs"]] == ["failed", "finished"]


@pytest.mark.slow
def test_a_job_leaves_the_process_unchanged_for_the_next_job(sweep: Command, odkd: Callable[..., Path]) -> None:
    def networks() -> int:
        gc.collect()
        kinds = (torch.nn.Module, torch.optim.Optimizer, Bank)
        return sum(issubclass(type(thing), kinds) for thing in gc.get_objects())

    known = networks()
    threads, filters = set(threading.enumerate()), list(warnings.filters)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]
    record = sweep("seed=0,1", "window.learn=6")
    assert [job["status"] for job in record["jobs"]] == ["finished"] * 2
    assert networks() == known
    assert set(threading.enumerate()) == threads
    assert warnings.filters == filters
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert not [handler for handler in logging.getLogger().handlers if isinstance(handler, JobLog)]
    alone = odkd("seed=1", "window.learn=6", "allow_targets=[failing]", "run.name=alone")
    second = Path("outputs") / record["jobs"][1]["run"]
    assert (alone / "metrics.jsonl").read_text() == (second / "metrics.jsonl").read_text()


# --- the folder of a sweep


def plan(outputs: Path, *, fail_fast: bool = False) -> SweepPlan:
    asked = ("seed=0,1,2",)
    return SweepPlan(outputs / "sweeps" / "seed-0", sweep_key(asked), "odkd -m seed=0,1,2", asked, ("seed",), fail_fast)


def write_job(plan: SweepPlan, number: int, status: str, **values: Any) -> None:
    record = {"number": number, "overrides": [f"seed={number}"], "status": status, "run": None, "seconds": 1.5}
    write_json(plan.job_file(number), record | {"metric": "total/miou", "value": None, "error": None} | values)


THREE = [["seed=0"], ["seed=1"], ["seed=2"]]


def test_equal_settings_are_the_same_sweep_wherever_it_is_stored() -> None:
    key = sweep_key(["window.learn=3,4", "seed=0,1"])
    assert key == sweep_key(["window.learn=3,4", "paths.outputs=x", "seed=0,1", "sweep.fail_fast=true"])
    assert key == sweep_key(["window.learn=3,4", "seed=0,1", "tracking.uri=http://x", "run.restart=true"])
    assert key != sweep_key(["window.learn=3,5", "seed=0,1"])


def test_a_job_without_a_final_status_has_failed(tmp_path: Path) -> None:
    with Sweep(plan(tmp_path)) as sweep:
        sweep.add(THREE)
        write_job(sweep.plan, 0, "finished", value=0.5, run="runs/a")
        write_job(sweep.plan, 1, "running", run="runs/b")
    record = json.loads((tmp_path / "sweeps" / "seed-0" / "sweep.json").read_text())
    assert [job["status"] for job in record["jobs"]] == ["finished", "failed", "not_run"]
    assert "its process died" in record["jobs"][1]["error"]
    assert (record["status"], record["metric"]) == ("failed", "total/miou")
    assert record["jobs"][0]["value"] == 0.5
    table = json.loads((tmp_path / "sweeps" / "seed-0" / "jobs.json").read_text())
    assert table["columns"][:3] == ["job", "seed", "status"]
    assert [row[:3] for row in table["data"]] == [[0, "0", "finished"], [1, "1", "failed"], [2, "2", "not_run"]]


def test_an_interrupted_sweep_is_killed_and_its_jobs_are_not_run(tmp_path: Path) -> None:
    sweep = Sweep(plan(tmp_path)).__enter__()
    sweep.add(THREE)
    write_job(sweep.plan, 0, "finished")
    write_job(sweep.plan, 1, "running")
    sweep.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert sweep.status == "killed"
    assert [job["status"] for job in sweep.jobs] == ["finished", "not_run", "not_run"]


def test_a_sweep_killed_after_its_first_file_is_the_same_run_in_mlflow(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "seed-0" / "run.json"
    killed = Sweep(plan(tmp_path)).__enter__()  # MLflow knows the sweep by key and time of creation from here on
    created = json.loads(path.read_text())["created"]
    killed._lock.release()
    killed._closing.set()
    assert not (path.parent / "sweep.json").exists()
    with Sweep(plan(tmp_path)):
        assert json.loads(path.read_text())["created"] == created


def test_only_one_process_can_launch_a_sweep(tmp_path: Path) -> None:
    with Sweep(plan(tmp_path)), pytest.raises(SweepIsBusyError, match="being run by another process"):
        Sweep(plan(tmp_path)).__enter__()


def test_the_folder_is_up_to_date_while_jobs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odkd.runs.sweeps.sweep.GATHER_SECONDS", 0.01)
    with Sweep(plan(tmp_path)) as sweep:
        sweep.add(THREE)
        write_job(sweep.plan, 1, "finished", value=0.25)
        path = tmp_path / "sweeps" / "seed-0" / "sweep.json"
        for _ in range(500):
            if json.loads(path.read_text())["jobs"][1]["status"] == "finished":
                break
            threading.Event().wait(0.01)
        assert [job["status"] for job in json.loads(path.read_text())["jobs"]] == ["waiting", "finished", "waiting"]


def test_an_old_reading_of_a_job_does_not_replace_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_read, may_continue = threading.Event(), threading.Event()

    def read_slowly(plan: SweepPlan, number: int) -> dict[str, Any] | None:
        found = read_job(plan, number)
        if not has_read.is_set():  # delay the first reading, as a slow disk would
            has_read.set()
            may_continue.wait()
        return found

    monkeypatch.setattr("odkd.runs.sweeps.sweep.read_job", read_slowly)
    sweep = Sweep(plan(tmp_path))
    sweep.add([["seed=0"]])
    write_job(sweep.plan, 0, "running")
    first = threading.Thread(target=sweep.gather)
    first.start()
    has_read.wait()
    write_job(sweep.plan, 0, "finished", value=0.5)
    second = threading.Thread(target=sweep.gather)
    second.start()
    second.join(0.5)
    may_continue.set()
    first.join()
    second.join()
    assert sweep.jobs[0]["status"] == "finished"


# --- what sweepers expand


@pytest.mark.parametrize(
    ("asked", "num_jobs", "varying"),
    [
        (["experiment=glob(arthus2019/*)", "dataset.root=x"], 2, ["experiment"]),
        (["experiment=glob(houyon2023/mir_*)", "seed=1"], 4, ["experiment", "dataset.order.sequence_minutes"]),
        (["experiment=glob(*)"], 3, ["experiment"]),
        # An experiment varies settings of its own choices, a sweep those of any.
        (["experiment=houyon2023/mir", "dataset=camvid", "dataset.root=x"], 1, []),
        (["experiment=houyon2023/mir", "dataset=camvid,synthetic", "dataset.root=x"], 2, ["dataset"]),
        (["experiment=houyon2023/mir", "++dataset.order.sequence_minutes=30"], 1, []),
        (
            ["sweep=window_x_stride", "dataset=camvid,synthetic", "seed=0"],
            18,
            ["window.learn", "dataset.stride", "seed", "dataset"],
        ),
        (["sweep=capacity", "replay=uniform,mir", "seed=0"], 8, ["replay", "replay.capacity", "seed"]),
        *((["sweep=" + path.stem], None, None) for path in sorted((CONF / "sweep").glob("[!o]*.yaml"))),  # not optuna_*
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_sweeps_expand(asked: list[str], num_jobs: int | None, varying: list[str] | None) -> None:
    import re

    from hydra import initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import HydraContext, RunMode

    from hydra_plugins.odkd_plugins.grid_sweeper import OdkdSweeper

    with initialize_config_dir(str(CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        assert running is not None
        loader = running.config_loader
        cfg = loader.load_configuration("config", list(asked), RunMode.MULTIRUN)
        sweeper = OdkdSweeper(cfg.hydra.sweeper.max_batch_size, cfg.hydra.sweeper.params)
        sweeper.setup(hydra_context=HydraContext(loader, Callbacks()), task_function=len, config=cfg)
        jobs, keys = sweeper.expand(sweeper.asked(sweeper.params, asked))
    assert len({tuple(job) for job in jobs}) == len(jobs)
    if num_jobs is None:
        promised = re.search(r"(\d+) runs", (CONF / "sweep" / f"{asked[0].split('=')[1]}.yaml").read_text())
        assert promised is not None
        assert len(jobs) == int(promised[1])
    else:
        assert (len(jobs), keys) == (num_jobs, varying)
