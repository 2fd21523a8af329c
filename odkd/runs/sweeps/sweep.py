"""A sweep on disk: what was asked for, what has become of each job, and who is still at work.

Each job writes a file of its own (jobs/NUMBER.json), wherever it runs; the launching process gathers them into
sweep.json. So nothing depends on what a launcher hands back, and a sweep that was killed at any instant can be
read. The folder is a run folder too, as far as MLflow is concerned: its run.json makes the parent run.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from odkd.common.dotted import WHERE_AND_HOW, is_in, split_override
from odkd.common.files import json_digest, write_atomic, write_json
from odkd.runs.sweeps.summary import markdown_table, tally, value_name

JobRecord = dict[str, Any]
STOP_FILE = "stop"  # in the folder of a sweep
DONE = ("finished", "skipped", "resumed", "pruned")
GATHER_SECONDS = 1.0  # between two looks at the jobs' files
DIED = "its process died: killed, or out of memory; the same command goes on from its checkpoint"
NOT_IN_KEY = (*WHERE_AND_HOW, "hydra")


def sweep_key(overrides: Sequence[str]) -> str:
    """Digest of what a sweep asks for, in the order of its jobs; where it is stored and shown does not count."""
    return json_digest([override for override in overrides if not is_in(split_override(override)[0], NOT_IN_KEY)])


@dataclass(frozen=True)
class SweepPlan:
    """What identifies a sweep, as each of its jobs knows it (pickled).

    Args:
        folder: of the sweep, absolute: outputs/sweeps/NAME-KEY.
        key: `sweep_key`.
        command: the command that makes it.
        overrides: what was asked for, sweeps unexpanded.
        varying: keys that differ between jobs.
        fail_fast: the first job that fails stops the others.
        launcher: host and process id of the launching process.
    """

    folder: Path
    key: str
    command: str
    overrides: tuple[str, ...]
    varying: tuple[str, ...]
    fail_fast: bool
    launcher: tuple[str, int] = field(default_factory=lambda: (platform.node(), os.getpid()))

    def is_launching_process(self) -> bool:
        """Whether this process is the one that launches the jobs."""
        return self.launcher == (platform.node(), os.getpid())

    @property
    def outputs(self) -> Path:
        """The folder that runs are named relative to."""
        return self.folder.parents[1]

    @property
    def stop_file(self) -> Path:
        """Where it says that no further job may begin, and running ones must end; on any machine."""
        return self.folder / STOP_FILE

    def stop(self, reason: str) -> None:
        """Let running jobs end as killed, and waiting ones not begin."""
        write_atomic(self.stop_file, reason.encode())

    def stop_reason(self) -> str | None:
        """Why the sweep is to stop, or None."""
        try:
            return self.stop_file.read_text()
        except FileNotFoundError:
            return None

    def job_file(self, number: int) -> Path:
        """What a job says about itself."""
        return self.folder / "jobs" / f"{number}.json"

    def failed_folder(self, number: int) -> Path:
        """Stands for the run of a job that failed before it had a run folder."""
        return self.folder / "failed" / str(number)


class SweepIsBusyError(ValueError):
    """Another process is launching this sweep."""


class Sweep:
    """The launching process's side: a context around all launching, that leaves sweep.json right in every ending.

    Jobs are added before they are launched, all at once or (a search) as they come.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan = plan
        self.jobs: list[JobRecord] = []
        self.search: dict[str, Any] | None = None  # of a search: its best trial, and what matters
        self.status = "running"
        self.seconds = 0.0
        self._created = datetime.now(UTC).isoformat()
        self._lock = FileLock(plan.folder / "run.lock", blocking=False)
        self._started = time.monotonic()
        self._closing = threading.Event()
        self._gatherer = threading.Thread(target=self._gather_again, name="odkd-sweep", daemon=True)
        self._changing = threading.Lock()  # a search gathers, too: an old look at a job must not undo a newer one
        self._written: Any = None

    def __enter__(self) -> Self:
        """Take the sweep's lock, and begin to gather what jobs say.

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
        before = self.plan.folder / "sweep.json"
        if before.is_file():
            self._created = json.loads(before.read_text())["created"]
        self.plan.stop_file.unlink(missing_ok=True)
        for path in (self.plan.folder / "jobs").glob("*.json"):
            path.unlink()
        write_json(self.plan.folder / "run.json", parent_run(self.record()))
        self._gatherer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._closing.set()
        self._gatherer.join()
        is_killed = error is not None and not isinstance(error, Exception)
        self.gather()
        for job in self.jobs:
            if job["status"] == "running" and not is_killed:
                job |= {"status": "failed", "error": DIED}
            elif job["status"] in ("waiting", "running"):
                job |= {"status": "not_run", "error": job["error"] or self.plan.stop_reason() or "the sweep was ended"}
        is_whole = error is None and all(job["status"] in DONE for job in self.jobs)
        self.status = "killed" if is_killed else "finished" if is_whole else "failed"
        self.write()
        self._lock.release()

    def add(self, jobs: Sequence[Sequence[str]]) -> None:
        """Jobs that are to run, each with its overrides, numbered on from those that there are; writes all files."""
        for number, overrides in enumerate(jobs, start=len(self.jobs)):
            nothing = {"run": None, "seconds": None, "value": None, "metric": None, "error": None}
            self.jobs.append({"number": number, "overrides": list(overrides), "status": "waiting", **nothing})
        self.write()

    def runs(self) -> list[Path]:
        """Folders of the jobs' runs, as far as they have any."""
        runs = [self.plan.outputs / job["run"] for job in self.jobs if job["run"]]
        return [run for run in runs if (run / "run.json").is_file()]

    def record(self) -> dict[str, Any]:
        """sweep.json."""
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
        """sweep.json, and for MLflow run.json and the table of jobs; nothing if nothing has changed."""
        with self._changing:
            state = [self.status, self.search, [dict(job) for job in self.jobs]]
            if state == self._written:
                return
            self._written = state
            self.seconds = time.monotonic() - self._started
            record = self.record()
            write_json(self.plan.folder / "sweep.json", record)
            write_json(self.plan.folder / "jobs.json", table_of_jobs(record))
            write_json(self.plan.folder / "run.json", parent_run(record))

    def _gather_again(self) -> None:
        while not self._closing.wait(GATHER_SECONDS):
            self.gather()
            self.write()

    def gather(self) -> None:
        """Read what the jobs have written down."""
        with self._changing:
            for job in self.jobs:
                # A job that was ended by its machine says "not_run", and may begin again by itself (Slurm's requeue).
                if job["status"] not in (*DONE, "failed") and (found := read_job(self.plan, job["number"])):
                    job |= {key: found[key] for key in job if key in found and key != "overrides"}


def read_job(plan: SweepPlan, number: int) -> JobRecord | None:
    """What a job says about itself; None before it has begun."""
    try:
        record: JobRecord = json.loads(plan.job_file(number).read_text())
    except FileNotFoundError:
        return None
    return record


def table_of_jobs(record: Mapping[str, Any]) -> dict[str, Any]:
    """A table in MLflow's form: columns and rows."""
    keys = list(record["varying"])
    columns = ["job", *keys, "status", "seconds", record["metric"] or "value", "run", "error"]
    rows = []
    for job in record["jobs"]:
        given = dict(map(split_override, job["overrides"]))
        what = [job[key] for key in ("status", "seconds", "value", "run", "error")]
        rows.append([job["number"], *(given.get(key, "") for key in keys), *what])
    return {"columns": columns, "data": rows}


def parent_run(record: Mapping[str, Any]) -> dict[str, Any]:
    """run.json of a sweep's folder: what makes its run in MLflow, the parent of its jobs' runs."""
    tags = {
        "odkd.kind": "sweep",
        "odkd.sweep_key": record["key"],
        "odkd.command": record["command"],
        "odkd.overrides": " ".join(record["overrides"]),
        "odkd.jobs": tally(record["jobs"]),
        "mlflow.note.content": markdown_table(record),
        "mlflow.loggedArtifacts": json.dumps([{"path": "jobs.json", "type": "table"}]),
        **search_tags(record),
    }
    state = {"status": record["status"], "created": record["created"], "updated": time.time()}
    name = {"key": record["key"], "name": record["name"], "title": record["name"]}
    return {**name, "stage": "sweep", "params": {}, "tags": tags, **state}


def search_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Best value, run and parameters of a search, and how much each parameter matters; nothing for a grid."""
    search = record.get("search") or {}
    best, importance = search.get("best"), search.get("importance", {})
    tags = {f"odkd.importance.{key}": str(share) for key, share in importance.items()}
    if best is not None:
        tags |= {"odkd.best_value": str(best["value"]), "odkd.best_run": " ".join(best["runs"])}
        tags |= {f"odkd.best.{key}": value for key, value in best["params"].items()}
    return tags
