"""One job of a sweep, in whatever process a launcher runs it: whatever happens is written down, and not raised."""

from __future__ import annotations

import _thread
import contextlib
import logging
import math
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from odkd.common.dotted import split_override
from odkd.common.files import json_digest, write_json
from odkd.common.isolation import isolated
from odkd.runs.outcome import Outcome, Terminated
from odkd.runs.results import cost_of, status_of
from odkd.runs.sweeps.summary import title_of
from odkd.runs.sweeps.sweep import DIED, SweepPlan, read_job
from odkd.runs.sync import forget, send

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.5  # between two looks whether the sweep is to stop


@dataclass(frozen=True)
class SweepJob:
    """The task function that a launcher is handed; to be pickled.

    Args:
        run: runs a config and fills in the outcome; raises what goes wrong.
        plan: the sweep.
        pruner_of: of a search: gives what judges the run of a job, by its number.
    """

    run: Callable[..., float]  # (DictConfig, Outcome)
    plan: SweepPlan
    pruner_of: Callable[[int], Callable[[Mapping[str, Any]], str | None] | None] | None = None

    def __call__(self, cfg: DictConfig) -> float:
        """Returns what the sweep compares; NaN where there is no such number.

        Raises:
            KeyboardInterrupt: the user has interrupted it; so has Terminated who ended the process.
        """
        hydra = HydraConfig.get()
        number = int(hydra.job.num if cfg.sweep.job is None else cfg.sweep.job)
        return _Attempt(self, cfg, number, hydra.overrides.task).run()

    def lost(self, cfg: DictConfig, number: int, overrides: Sequence[str], error: BaseException) -> None:
        """For the launching process: the process of a job is gone, or never came. If the job did not say how it ended,
        it has failed.

        Args:
            cfg: of the launching process.
            number, overrides: of the job.
            error: what the launcher knows of it.
        """
        _Attempt(self, cfg, number, overrides).lost(error)


class _Attempt:
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
        """Into the job's log, its folder, MLflow, and what the sweep knows."""
        run, log = self.outcome.run, self.outcome.log
        # What an earlier attempt has left says nothing of this one, unless this one has opened the run.
        is_told = log.has_place and run is not None and status_of(run) == "failed"
        self.write_failure(error, last_line(error), run if is_told else None)

    def lost(self, error: BaseException) -> None:
        """In the launching process, of a job that is gone."""
        said = read_job(self.plan, self.number)
        if said is not None and said["status"] != "running":
            return
        run = None
        if said is not None:
            self.started -= said["seconds"]
            run = self.outcome.run = self.plan.outputs / said["run"] if said["run"] else None
        self.outcome.log.write_error(error)
        is_told = run is not None and status_of(run) == "running"  # it will be marked killed
        self.write_failure(error, DIED if said else f"it could not begin: {last_line(error)}", run if is_told else None)

    def write_failure(self, error: BaseException, last: str, run: Path | None) -> None:
        """`run` is the folder that shows it, None if there is none yet."""
        self.forget_stub()
        if run is None:
            run = self.write_stub("".join(traceback.format_exception(error)))
        self.note("failed", last)
        logger.error("%s failed: %s  (%s)", self.who, last, run / "run.log")
        if self.plan.fail_fast:
            self.plan.stop(f"sweep.fail_fast=true, and job {self.number} failed")

    def write_stub(self, whole: str) -> Path:
        """A folder that stands for the run that there is none of, so that MLflow shows the failure."""
        stub = self.plan.failed_folder(self.number)
        stub.mkdir(parents=True)
        (stub / "error.txt").write_text(whole)
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
        write_json(stub / "run.json", record)
        send(stub, self.cfg, briefly=True)
        return stub

    def forget_stub(self) -> None:
        """What the last attempt left, if it failed before it had a run."""
        stub = self.plan.failed_folder(self.number)
        if stub.is_dir():
            forget(stub, self.cfg)

    def note(self, status: str, error: str | None = None) -> None:
        """jobs/NUMBER.json."""
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
        write_json(self.plan.job_file(self.number), record)


def last_line(error: BaseException) -> str:
    """Kind and message of an error."""
    return traceback.format_exception_only(error)[-1].strip()


def seconds_spent(run: Path) -> float | None:
    """What the processes of a run took that finished before, as far as it is known."""
    processes = cost_of(run).get("processes")
    return None if processes is None else sum(float(process["seconds"]) for process in processes)


def number_lines(number: int) -> None:
    """Jobs of several processes share a console: each line says whose it is."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setFormatter(logging.Formatter(f"#{number}  %(message)s"))


@contextlib.contextmanager
def watched(plan: SweepPlan) -> Iterator[None]:
    """While a job runs in a process of its own: SIGTERM and the sweep's stop file end it, marked killed.

    A job that runs in no main thread cannot be interrupted, and goes on to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the ending itself is not to be interrupted
        raise Terminated(plan.stop_reason() or "terminated")

    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if plan.stop_reason() is not None:
                if not over.is_set():
                    _thread.interrupt_main(signal.SIGTERM)
                return

    signal.signal(signal.SIGTERM, terminate)  # `isolated` puts the old one back
    watcher = threading.Thread(target=look, name="odkd-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
