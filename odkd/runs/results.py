"""Reading finished and unfinished runs back from their folders; `odkd.runs.mlflow_store` reads them from MLflow."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from odkd.common.files import is_own
from odkd.common.reading import MOST_LINE, DamagedFileError, as_utf8, check_form, open_file, read_text, shown
from odkd.common.renamed import current_metrics, current_params
from odkd.runs.records import (
    COST,
    NUMBERED_LINE,
    RUN,
    RUN_ADVICE,
    SAMPLE,
    Moment,
    Scores,
    read_form,
    read_if_there,
    read_lines,
)
from odkd.runs.run_file import FILES, read_record, verify

TAIL_BYTES = 2**14  # some lines


@dataclass(frozen=True)
class Run:
    """The content of a run folder at the moment it was read; the writer of run folders is `odkd.runs.run.OpenRun`.

    `metrics` has one dictionary for each iteration, in order: the line of metrics.jsonl merged with the line of
    timing.jsonl. So "metrics" holds all values by key (None = undefined), and "time" is the time at which the
    iteration was published, in seconds since 1970 (missing if the timing line is lost).
    `summary` is empty until the run has finished; that of a sweep holds the scores over its jobs so far.
    """

    folder: Path
    key: str
    name: str
    stage: str
    status: str
    created: datetime
    title: str  # for display: in a sweep the settings that differ between its runs, else the name
    updated: float | None  # time of the last change of status, seconds since 1970
    sweep: str | None  # folder of its sweep, relative to the outputs
    error: str  # last line of the error that ended the run; "" if there was none
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[dict[str, Any]]
    summary: dict[str, float | None]
    system: list[dict[str, Any]] = field(default_factory=list)  # system metrics, if the run recorded them

    def milliseconds(self, line: Mapping[str, Any]) -> int:
        """Return when a line of `metrics` or `system` was published, since 1970; when the run began if unknown."""
        seconds: float = line.get("time", self.created.timestamp())
        return round(seconds * 1000)

    @property
    def last_milliseconds(self) -> int:
        """When the last line of `metrics` was published, since 1970."""
        return self.milliseconds(self.metrics[-1] if self.metrics else {})

    @property
    def ended_milliseconds(self) -> int:
        """When the run ended, since 1970; for a running one, its last sign of life."""
        return max(self.last_milliseconds, round(1000 * (self.updated or 0)))


def status_of(folder: Path) -> str | None:
    """Return the status of a run: running, finished, failed, killed, pruned or damaged; None if there is no run."""
    try:
        status: str = read_record(folder)["status"]
    except FileNotFoundError:
        return None
    except ValueError:
        return "damaged"  # whoever reads more of it says so
    return status


def read_run(folder: Path, skip: Mapping[str, int] = MappingProxyType({})) -> Run:
    """Read a run folder, also while another process writes to it.

    `skip` are bytes at the start of files of lines that need not be read, as `last_lines` returns them.

    The status is read before the metrics, so that a run which is not "running" has all its metrics. Metrics
    are read before timings, because a timing line is published before its metrics line.

    Raises:
        ValueError: `folder` is not a run folder, or a file was changed since the run finished.
    """
    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder} has no run.json; expected a run folder, such as outputs/runs/NAME-KEY")
    record = read_record(folder, RUN)
    if not skip:
        verify(folder, ("metrics.jsonl", "timing.jsonl", "summary.json"), record)
    lines = read_lines(folder / "metrics.jsonl", skip.get("metrics.jsonl", 0), NUMBERED_LINE)
    timings = _timings(folder, skip.get("timing.jsonl", 0))
    if skip and any(line["iteration"] not in timings for line in lines):  # its file was ahead of the metrics then
        timings = _timings(folder, 0)
    for line in lines:
        timing = timings.get(line["iteration"])
        if timing is not None:
            line["time"] = timing.get("time", 0.0)
            line["metrics"] = line["metrics"] | timing["metrics"]
    told = as_utf8({key: value for key, value in record.items() if key != FILES})
    stage = told["stage"]
    for line in lines:
        line["metrics"] = current_metrics(line["metrics"], stage)
    is_final = (folder / "summary.json").is_file()
    summary = read_form(folder, "summary.json", Scores) if is_final else record.get("summary", {})
    return Run(
        folder=folder,
        key=_key_of(record["key"], folder),
        name=told["name"],
        stage=stage,
        status=record["status"],
        created=_time_of(record["created"], folder),
        title=told.get("title") or told["name"],
        updated=record.get("updated"),
        sweep=(told.get("sweep") or {}).get("folder"),
        error=error_of(folder).rpartition("\n")[2],
        params=current_params(told["params"]),
        tags=told["tags"],
        metrics=lines,
        system=read_lines(folder / "system.jsonl", skip.get("system.jsonl", 0), SAMPLE),
        summary=current_metrics(summary, stage),
    )


def overrides_of(run: Run) -> list[str]:
    """Return the overrides of the command line."""
    path = run.folder / "overrides.txt"
    return read_text(path).splitlines() if path.is_file() else []


def command_of(run: Run) -> str:
    """Return the command that repeats this run."""
    own = ["--config-dir", folder] if (folder := run.tags.get("odkd.config_dir")) else []
    return shlex.join(["odkd", *own, *overrides_of(run)])


def error_of(folder: Path) -> str:
    """Return the traceback that ended a run; "" if there was none. A link is none: it may lead anywhere."""
    path = folder / "error.txt"
    return read_text(path).strip() if path.is_file() and is_own(folder, path) else ""


def cost_of(folder: Path) -> dict[str, Any]:
    """Return the content of cost.json (see `odkd.runs.cost`); empty if the file does not exist yet."""
    return read_if_there(folder, "cost.json", COST)


def last_lines(folder: Path) -> dict[str, int]:
    """Return the bytes before the last complete line of each file of lines in a run folder, by its name."""
    return {name: before_last_line(folder / name) for name in ("metrics.jsonl", "timing.jsonl", "system.jsonl")}


def before_last_line(path: Path) -> int:
    """Return how many bytes of a text file lie before its last complete line; 0 without such a file."""
    if not path.is_file():
        return 0
    with open_file(path) as file:
        end = file.seek(0, os.SEEK_END)
        size = TAIL_BYTES
        while True:
            start = max(0, end - size)
            file.seek(start)
            tail = file.read(end - start)
            if (before := tail.rfind(b"\n", 0, max(0, tail.rfind(b"\n")))) >= 0:
                return start + before + 1
            if not start or size > MOST_LINE:  # whoever reads so long a line refuses it
                return 0
            size *= 4


def _timings(folder: Path, skip: int) -> dict[int, dict[str, Any]]:
    """Return the timing lines by iteration.

    An iteration that was interrupted between its two lines was repeated: the later timing line is the right one.
    """
    return {line["iteration"]: line for line in read_lines(folder / "timing.jsonl", skip, NUMBERED_LINE)}


def _key_of(text: str, folder: Path) -> str:
    """Return the key of a run, which MLflow is searched for: letters and digits alone."""
    if re.fullmatch(r"\w+", text, re.ASCII):
        return text
    path = shown(folder / "run.json")
    raise DamagedFileError(f"{path} is damaged: key={text!r:.40} is no key; {RUN_ADVICE}")


def _time_of(text: str, folder: Path) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        check_form(found.timestamp(), Moment)
        return found
    except (ValueError, OverflowError, OSError) as error:  # the system may not count before 1970
        path = shown(folder / "run.json")
        raise DamagedFileError(f"{path} is damaged: created={text!r:.40} is no time; {RUN_ADVICE}") from error
