"""The launching process of a sweep: its folder, its parent run in MLflow, the summary at its end.

Any sweeper opens a sweep here, adds its jobs, and passes the task function to a launcher.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from odkd.common.console import say
from odkd.common.names import counted
from odkd.runs.mlflow_place import check_place, tell_variables
from odkd.runs.results import status_of
from odkd.runs.sweeps.plan import SweepPlan, sweep_key
from odkd.runs.sweeps.summary import sweep_table
from odkd.runs.sweeps.sweep import DONE, Sweep
from odkd.runs.sync import Followers, Tracking, mark_if_killed

logger = logging.getLogger(__name__)


def plan_sweep(
    cfg: DictConfig, name: str, overrides: Sequence[str], varying: Sequence[str], command: str, how: Sequence[str] = ()
) -> SweepPlan:
    """Return the plan of a sweep; `odkd.runs.sweeps.job.SweepJob` makes a task function of it.

    Args:
        cfg: config of the launching process.
        name: name of the sweep's folder; a digest is appended.
        overrides: overrides of the sweep; equal overrides are the same sweep.
        varying: keys that differ between jobs.
        command: the command, for display.
        how: further text that distinguishes sweeps.

    Raises:
        ValueError: MLflow cannot be where the config says.
    """
    check_place(cfg)
    key = sweep_key([*overrides, *how])
    folder = Path(cfg.paths.outputs).absolute() / "sweeps" / f"{name}-{key[:8]}"
    return SweepPlan(folder, key, command, tuple(overrides), tuple(varying), bool(cfg.sweep.fail_fast))


@contextlib.contextmanager
def open_sweep(
    cfg: DictConfig, plan: SweepPlan, write_report: Callable[[Path], Path], tracking: Tracking
) -> Iterator[Sweep]:
    """Open a sweep, around all launching; add jobs to it before they are launched.

    Args:
        cfg: config of the launching process.
        plan: the plan of the sweep.
        write_report: writes the page of a sweep folder at the end, and returns its path.
        tracking: the trackers of the launching process.

    Raises:
        ValueError: another process is running the sweep.
        SystemExit: code 1 if a job has not finished, after the summary is printed.
    """
    sweep = Sweep(plan)
    followers: Followers | None = None
    try:
        with sweep:
            followers = follow(plan.folder, cfg, tracking)
            yield sweep
    finally:
        if sweep.status != "running":
            tell(sweep, cfg, tracking, followers, write_report)
    if any(job["status"] not in DONE for job in sweep.jobs):
        sys.exit(1)


def follow(folder: Path, cfg: DictConfig, tracking: Tracking) -> Followers | None:
    """Start to copy a sweep to its trackers; wait for the first pass, which creates what jobs need: the parent run."""
    if not tracking.trackers:
        return None
    tell_variables(cfg)
    followers = tracking.follow(folder)
    followers.wait(tracking.wait_seconds(briefly=True))
    return followers


def tell(
    sweep: Sweep, cfg: DictConfig, tracking: Tracking, followers: Followers | None, write_report: Callable[[Path], Path]
) -> None:
    """Print the summary of a sweep that has ended, write its report, and send its trackers the rest."""
    died = [run for run in sweep.runs() if mark_if_killed(run)]
    record = sweep.record()
    say(sweep_table(record))
    say(f"\nsweep folder  {os.path.relpath(sweep.plan.folder)}")
    if cfg.run.report and sweep.status != "killed" and any(job["run"] for job in sweep.jobs):
        report(sweep.plan.folder, write_report)
    if record["status"] != "finished":
        say(f"the same command goes on from here, and computes nothing again:\n  {sweep.plan.command}")
    sys.stdout.flush()
    if followers is not None:
        was_ended = sweep.status == "killed"
        if followers.close(timeout_seconds=tracking.wait_seconds(briefly=was_ended)):
            send_rest(died if was_ended else sweep.runs(), tracking, briefly=was_ended)


def send_rest(runs: Sequence[Path], tracking: Tracking, *, briefly: bool) -> None:
    """Send trackers what they missed from runs that have ended; stop at the first failure."""
    ended = [run for run in runs if status_of(run) != "running"]  # a running one belongs to another process
    late = [run for run in ended if not tracking.is_complete(run)]
    num_sent = sum(1 for _ in itertools.takewhile(lambda run: tracking.send(run, briefly=briefly), late))
    if num_sent:
        names = ", ".join(type(tracker).__name__ for tracker in tracking.trackers.values())
        say(f"sent to {names}, which had not received everything: {counted(num_sent, 'run')}")


def report(folder: Path, write_report: Callable[[Path], Path]) -> None:
    """Write report.html of a sweep; its errors are only logged, so that they cannot affect the results."""
    try:
        say(f"report        {os.path.relpath(write_report(folder))}")
    except Exception as error:
        message = "no report was written (%s); no run is affected. Try again with  odkd-report %s"
        logger.error(message, error, folder, exc_info=not isinstance(error, OSError))
