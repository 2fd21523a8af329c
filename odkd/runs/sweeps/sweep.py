"""The folder of a sweep, as the launching process writes it: the state of each job, gathered into sweep.json.

Each job writes a file of its own (jobs/NUMBER.json), wherever it runs, and the launching process gathers them. So
nothing depends on the values that a launcher returns, and the folder of a sweep that was killed at any time can be
read. For MLflow the folder is a run folder too: its run.json makes the parent run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from odkd.common.errors import line_of
from odkd.common.files import write_json
from odkd.common.progress import Progress
from odkd.runs.records import write_record_of
from odkd.runs.run_file import read_record
from odkd.runs.sweeps.parent import parent_run, table_of_jobs
from odkd.runs.sweeps.plan import DIED, JobRecord, SweepPlan, read_job
from odkd.runs.sweeps.summary import value_name

logger = logging.getLogger(__name__)
DONE = ("finished", "skipped", "resumed", "pruned")
LINE_SECONDS = 60.0  # between two log lines on the state of the jobs, where no bar shows it
GATHER_SECONDS = 1.0  # shortest interval between two readings of the jobs' files
GATHER_SHARE = 0.05  # largest share of the time for it: a reading takes 25 ms for 1,000 jobs, and 2.5 s for 100,000


class SweepIsBusyError(ValueError):
    """Another process is launching this sweep."""


class Sweep:
    """The state of a sweep in its launching process; a context manager that leaves sweep.json correct however it ends.

    Jobs are added before they are launched: all at once, or in a search batch by batch.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan = plan
        self.jobs: list[JobRecord] = []
        self.search: dict[str, Any] | None = None  # in a search: its best trial and the importance of parameters
        self.status = "running"
        self.seconds = 0.0
        self._created = datetime.now(UTC).isoformat()
        self._lock = FileLock(plan.folder / "run.lock", blocking=False)
        self._started = time.monotonic()
        self._closing = threading.Event()
        self._gatherer = threading.Thread(target=self._gather_again, name="odkd-sweep", daemon=True)
        self._changing = threading.Lock()  # a search gathers too: an old reading of a job must not replace a newer one
        self._written: Any = None
        self._progress = Progress("sweep", "jobs", seconds=LINE_SECONDS)
        self._num_skipped = 0
        self.num_planned = 0  # jobs of a search, which adds them batch by batch

    def __enter__(self) -> Self:
        """Take the sweep's lock, and start to gather the jobs' notes.

        Raises:
            SweepIsBusyError: another process launches this sweep.
        """
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise SweepIsBusyError(
                f"{self.plan.folder} is being run by another process; wait for it, or end it first"
            ) from error
        before = self.plan.folder / "run.json"  # the first file of a sweep: MLflow may know its run before any other
        if before.is_file():
            self._created = read_record(self.plan.folder, {"created": str})["created"]
        self.plan.stop_file.unlink(missing_ok=True)
        for path in (self.plan.folder / "jobs").glob("*.json"):
            path.unlink()
        write_record_of(self.plan.folder / "run.json", parent_run(self.record()))
        self._gatherer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._closing.set()
        self._gatherer.join()
        try:
            self._end(error)
        finally:
            self._progress.__exit__(kind, error, trace)
            self._lock.release()

    def _end(self, error: BaseException | None) -> None:
        """Note how the jobs and the sweep have ended."""
        is_killed = error is not None and not isinstance(error, Exception)
        self.gather()
        for job in self.jobs:
            if job["status"] == "running" and not is_killed:
                job |= {"status": "failed", "error": DIED}
            elif job["status"] in ("waiting", "running"):
                job |= {"status": "not_run", "error": job["error"] or self.plan.stop_reason() or "the sweep was ended"}
        is_complete = error is None and all(job["status"] in DONE for job in self.jobs)
        self.status = "killed" if is_killed else "finished" if is_complete else "failed"
        self.write()

    def add(self, jobs: Sequence[Sequence[str]]) -> None:
        """Add jobs, each given by its overrides, numbered after the existing ones; write all files."""
        for number, overrides in enumerate(jobs, start=len(self.jobs)):
            unknown = {"run": None, "seconds": None, "value": None, "metric": None, "error": None}
            self.jobs.append({"number": number, "overrides": list(overrides), "status": "waiting", **unknown})
        self.write()

    def runs(self) -> list[Path]:
        """Return the run folders of the jobs that have one."""
        runs = [self.plan.outputs / job["run"] for job in self.jobs if job["run"]]
        return [run for run in runs if (run / "run.json").is_file()]

    def record(self) -> dict[str, Any]:
        """Return the content of sweep.json."""
        return {
            "key": self.plan.key,
            "name": self.plan.folder.name,
            "command": self.plan.command,
            "overrides": list(self.plan.overrides),
            "varying": list(self.plan.varying),
            "status": self.status,
            "created": self._created,
            "seconds": round(self.seconds, 1),
            "metric": value_name(self.jobs),
            "jobs": self.jobs,
            **({} if self.search is None else {"search": self.search}),
        }

    def write(self) -> None:
        """Write sweep.json, and for MLflow run.json and the table of jobs, if anything has changed."""
        with self._changing:
            state = [self.status, self.search, [dict(job) for job in self.jobs]]
            if state == self._written:
                return
            self.seconds = time.monotonic() - self._started
            record = self.record()
            write_record_of(self.plan.folder / "sweep.json", record)
            write_json(self.plan.folder / "jobs.json", table_of_jobs(record))
            write_record_of(self.plan.folder / "run.json", parent_run(record))
            self._written = state  # only now: what a disk has refused is written again

    def _gather_again(self) -> None:
        seconds, is_refused = 0.0, False
        while not self._closing.wait(pause_after(seconds)):
            began = time.monotonic()
            try:
                self.gather()
                self.write()
                is_refused = False
            except Exception as error:  # the jobs go on; the end of the sweep does both again, and raises what is wrong
                if not is_refused:
                    logger.warning("the sweep's files are not up to date (%s); the jobs go on", line_of(error) or error)
                is_refused = True
            seconds = time.monotonic() - began

    def gather(self) -> None:
        """Read the notes of all jobs that have not ended."""
        with self._changing:
            for job in self.jobs:
                # A job that its machine ended is "not_run", and may begin again by itself (requeued by Slurm).
                if job["status"] not in (*DONE, "failed") and (found := read_job(self.plan, job["number"])):
                    job |= {key: found[key] for key in job if key in found and key != "overrides"}
            counts = Counter(job["status"] for job in self.jobs)
        if self.jobs:
            self._progress.skip(counts["skipped"] - self._num_skipped)  # they say nothing about the time left
            self._num_skipped = counts["skipped"]
            num_ended = sum(counts[status] for status in (*DONE, "failed"))
            state = f"{counts['running']} running, {counts['failed']} failed"
            self._progress(num_ended, max(self.num_planned, len(self.jobs)), f" ({state})")


def pause_after(seconds: float) -> float:
    """Return how many seconds to wait after a reading of the jobs' files that took `seconds`.

    >>> pause_after(0.02), round(pause_after(2.5), 1)
    (1.0, 47.5)
    """
    return max(GATHER_SECONDS, seconds * (1 / GATHER_SHARE - 1))
