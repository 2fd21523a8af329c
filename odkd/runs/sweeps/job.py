"""One job of a sweep, in the process that a launcher chooses: its outcome goes to a file; errors are not raised."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from odkd.common.dotted import split_override
from odkd.common.files import json_digest
from odkd.common.isolation import isolated
from odkd.runs.mlflow_place import variables
from odkd.runs.outcome import Outcome
from odkd.runs.records import write_record_of
from odkd.runs.results import cost_of, status_of
from odkd.runs.sweeps.job_process import number_lines, watched
from odkd.runs.sweeps.plan import DIED, SweepPlan, read_job
from odkd.runs.sweeps.summary import title_of
from odkd.runs.sync import Tracking

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepJob:
    """The task function that a launcher calls; it is pickled.

    Args:
        run: runs a config and fills in the outcome; raises any error.
        plan: the sweep.
        tracking_of: returns the trackers of a config.
        pruner_of: in a search, returns the pruner of a job's run, given the job's number.
        variables: of the launching process, which say where MLflow is; other machines may lack them.
    """

    run: Callable[..., float]  # (DictConfig, Outcome)
    plan: SweepPlan
    tracking_of: Callable[[DictConfig], Tracking]
    pruner_of: Callable[[int], Callable[[Mapping[str, Any]], str | None] | None] | None = None
    variables: Mapping[str, str] = field(default_factory=variables)

    def __call__(self, cfg: DictConfig) -> float:
        """Run the job, and return the value that the sweep compares; NaN if there is none.

        Raises:
            KeyboardInterrupt: the user has interrupted the job.
            Terminated: the process was asked to end.
        """
        for name, value in self.variables.items():
            os.environ.setdefault(name, value)
        hydra = HydraConfig.get()
        number = int(hydra.job.num if cfg.sweep.job is None else cfg.sweep.job)
        return _Attempt(self, cfg, number, hydra.overrides.task).run()

    def lost(self, cfg: DictConfig, number: int, overrides: Sequence[str], error: BaseException) -> None:
        """Note, in the launching process, that the process of a job died or never started.

        A job that did not note how it ended has failed.

        Args:
            cfg: config of the launching process.
            number: number of the job.
            overrides: overrides of the job.
            error: the error that the launcher reports.
        """
        _Attempt(self, cfg, number, overrides).lost(error)


class _Attempt:
    """One attempt to run a job."""

    def __init__(self, job: SweepJob, cfg: DictConfig, number: int, overrides: Sequence[str]) -> None:
        self.job, self.plan, self.cfg, self.number = job, job.plan, cfg, number
        self.overrides = [override for override in overrides if split_override(override)[0] != "sweep.job"]
        plan = self.plan
        title = title_of(overrides, plan.varying)
        sweep = {"key": plan.key, "folder": plan.folder.relative_to(plan.outputs).as_posix()}
        self.who = f"job {number} ({title})" if title else f"job {number}"
        pruner = job.pruner_of(number) if job.pruner_of is not None else None
        self.outcome = Outcome(title, sweep, lambda: self.note("running"), pruner)
        self.started = time.monotonic()

    def run(self) -> float:
        if (reason := self.plan.stop_reason()) is not None:
            self.note("not_run", reason)
            return math.nan
        self.note("running")
        is_elsewhere = not self.plan.is_launching_process()
        if is_elsewhere:
            number_lines(self.number)
        try:
            with isolated(), watched(self.plan) if is_elsewhere else contextlib.nullcontext():
                value = self.job.run(self.cfg, self.outcome)
        except Exception as error:
            self.failed(error)
            return math.nan
        except BaseException as error:
            is_interrupt = isinstance(error, KeyboardInterrupt)
            self.note("not_run", self.plan.stop_reason() or ("interrupted" if is_interrupt else "terminated"))
            raise
        outcome = self.outcome
        self.forget_stub()
        self.note(outcome.status)
        shown = "" if outcome.value is None else f", {outcome.metric} {outcome.value:.4f}"
        seconds = time.monotonic() - self.started
        logger.info("%s %s%s, %.1f s", self.who, outcome.status, shown, seconds)
        return value

    def failed(self, error: Exception) -> None:
        """Write a failure to the job's log, its folder, MLflow and the job's notes."""
        run, log = self.outcome.run, self.outcome.log
        # The status may come from an earlier attempt, unless this one has opened the run.
        is_shown = log.has_place and run is not None and status_of(run) == "failed"
        self.write_failure(error, last_line(error), run if is_shown else None)

    def lost(self, error: BaseException) -> None:
        """Write the failure of a job whose process is gone, in the launching process."""
        notes = read_job(self.plan, self.number)
        if notes is not None and notes["status"] != "running":
            return
        run = None
        if notes is not None:
            self.started -= notes["seconds"]
            run = self.outcome.run = self.plan.outputs / notes["run"] if notes["run"] else None
        self.outcome.log.write_error(error)
        is_shown = run is not None and status_of(run) == "running"  # it will be marked killed
        last = DIED if notes else f"it could not begin: {last_line(error)}"
        self.write_failure(error, last, run if is_shown else None)

    def write_failure(self, error: BaseException, last: str, run: Path | None) -> None:
        """Write a failure; `run` is the run folder that shows it, None if there is none yet."""
        self.forget_stub()
        if run is None:
            run = self.write_stub("".join(traceback.format_exception(error)))
        self.note("failed", last)
        logger.error("%s failed: %s  (%s)", self.who, last, run / "run.log")
        if self.plan.fail_fast:
            self.plan.stop(f"sweep.fail_fast=true, and job {self.number} failed")

    def write_stub(self, error: str) -> Path:
        """Write a folder in place of the missing run, so that MLflow shows the failure.

        Args:
            error: the traceback.
        """
        stub = self.plan.failed_folder(self.number)
        stub.mkdir(parents=True)
        (stub / "error.txt").write_text(error)
        self.outcome.log.move_to(stub / "run.log")
        outcome = self.outcome
        record = {
            "key": json_digest([self.plan.key, self.overrides]),
            "name": f"{self.plan.folder.name}-{self.number}",
            "title": outcome.title or None,
            "stage": "",
            "sweep": outcome.sweep,
            "params": dict(map(split_override, self.overrides)),
            "tags": {"odkd.kind": "run", "odkd.sweep_key": self.plan.key, "odkd.overrides": " ".join(self.overrides)},
            "status": "failed",
            "created": datetime.now(UTC).isoformat(),
            "updated": time.time(),
        }
        write_record_of(stub / "run.json", record)
        self.job.tracking_of(self.cfg).send(stub, briefly=True)
        return stub

    def forget_stub(self) -> None:
        """Delete the folder that the last attempt left if it failed before it had a run."""
        stub = self.plan.failed_folder(self.number)
        if stub.is_dir():
            self.job.tracking_of(self.cfg).forget(stub)

    def note(self, status: str, error: str | None = None) -> None:
        """Write jobs/NUMBER.json."""
        outcome = self.outcome
        value = outcome.value if outcome.value is not None and math.isfinite(outcome.value) else None
        seconds = seconds_spent(outcome.run) if status == "skipped" and outcome.run is not None else None
        record = {
            "number": self.number,
            "overrides": self.overrides,
            "status": status,
            "run": os.path.relpath(outcome.run.absolute(), self.plan.outputs) if outcome.run is not None else None,
            "seconds": round(time.monotonic() - self.started if seconds is None else seconds, 2),
            "metric": outcome.metric,
            "value": value,
            "error": error,
            "host": platform.node(),
            "pid": os.getpid(),
        }
        write_record_of(self.plan.job_file(self.number), record)


def last_line(error: BaseException) -> str:
    """Return the type and message of an error."""
    return traceback.format_exception_only(error)[-1].strip()


def seconds_spent(run: Path) -> float | None:
    """Return the total time of a finished run's processes, in seconds; None if it is unknown."""
    processes = cost_of(run).get("processes")
    return None if processes is None else sum(float(process["seconds"]) for process in processes)
