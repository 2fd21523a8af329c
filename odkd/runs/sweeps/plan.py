"""The plan of a sweep, which every job knows, and the notes that jobs write about themselves."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odkd.common.dotted import WHERE_AND_HOW, is_in, split_override
from odkd.common.files import json_digest, write_atomic
from odkd.runs.records import NOTE_OF_JOB, read_form

JobRecord = dict[str, Any]
STOP_FILE = "stop"  # in the folder of a sweep
DIED = "its process died: killed, or out of memory; the same command goes on from its checkpoint"
NOT_IN_KEY = (*WHERE_AND_HOW, "hydra")


def sweep_key(overrides: Sequence[str]) -> str:
    """Return a digest of the settings that a sweep asks for, in order, without those of storage and display."""
    return json_digest([override for override in overrides if not is_in(split_override(override)[0], NOT_IN_KEY)])


@dataclass(frozen=True)
class SweepPlan:
    """The identity of a sweep, as known to each of its jobs (pickled).

    Args:
        folder: folder of the sweep, absolute: outputs/sweeps/NAME-KEY.
        key: see `sweep_key`.
        command: the command that starts the sweep.
        overrides: the overrides given, with sweeps not expanded.
        varying: keys that differ between jobs.
        fail_fast: the first job that fails stops the sweep.
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
        """True if this process is the one that launches the jobs."""
        return self.launcher == (platform.node(), os.getpid())

    @property
    def outputs(self) -> Path:
        """The folder to which the paths of runs are relative."""
        return self.folder.parents[1]

    @property
    def stop_file(self) -> Path:
        """The file whose existence stops the sweep on any machine: no job may begin, and running jobs must end."""
        return self.folder / STOP_FILE

    def stop(self, reason: str) -> None:
        """Stop the sweep: running jobs end as killed, and waiting ones do not begin."""
        write_atomic(self.stop_file, reason.encode())

    def stop_reason(self) -> str | None:
        """Return why the sweep must stop, or None."""
        try:
            return self.stop_file.read_text()
        except FileNotFoundError:
            return None

    def job_file(self, number: int) -> Path:
        """Return the file in which a job notes its state."""
        return self.folder / "jobs" / f"{number}.json"

    def failed_folder(self, number: int) -> Path:
        """Return the folder that stands for the run of a job that failed before it had a run folder."""
        return self.folder / "failed" / str(number)


def read_job(plan: SweepPlan, number: int) -> JobRecord | None:
    """Return the notes of a job about itself; None before it has begun."""
    try:
        path = plan.job_file(number)
        record: JobRecord = read_form(path.parent, path.name, NOTE_OF_JOB, "delete it: the job begins again")
    except FileNotFoundError:
        return None
    return record
