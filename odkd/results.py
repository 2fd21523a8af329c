"""Reading results back: the only reader of finished and unfinished runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """What a run folder says, at the moment it was read.

    `metrics` has one dictionary an iteration, in order: the line of metrics.jsonl with the line of
    timing.jsonl merged in, so "metrics" holds all values by key (None = undefined) and "time" is when
    the iteration was published, in seconds since 1970 (absent if the timing line is lost).
    `summary` is empty until the run has finished.
    """

    folder: Path
    key: str
    name: str
    stage: str
    status: str
    created: datetime
    title: str  # what people are shown: in a sweep, what differs; else the name
    updated: float | None  # when the status was set last, seconds since 1970
    sweep: str | None  # folder of the sweep that it belongs to, relative to the outputs
    error: str  # last line of what ended it; "" if nothing did
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[dict[str, Any]]
    summary: dict[str, float | None]

    def milliseconds(self, line: Mapping[str, Any]) -> int:
        """When a line of `metrics` was published, since 1970; the run's beginning if that is not known."""
        seconds: float = line.get("time", self.created.timestamp())
        return round(seconds * 1000)

    @property
    def last_milliseconds(self) -> int:
        return self.milliseconds(self.metrics[-1] if self.metrics else {})

    @property
    def ended_milliseconds(self) -> int:
        """When it ended, since 1970; of a run that still goes on, when it was last heard of."""
        return max(self.last_milliseconds, round(1000 * (self.updated or 0)))


def status_of(folder: Path) -> str | None:
    """running, finished, failed, killed or pruned; None where there is no run."""
    try:
        status: str = json.loads((folder / "run.json").read_text())["status"]
    except FileNotFoundError:
        return None
    return status


def read_run(folder: Path) -> Run:
    """Read a run folder, also while another process writes to it.

    The status is read before the metrics: of a run that is not "running", nothing is missing. Metrics
    are read before timings, because a timing line is published before its metrics line.

    Raises:
        ValueError: `folder` is no run folder.
    """
    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder} has no run.json; expected a run folder, such as outputs/runs/NAME-KEY")
    record = json.loads((folder / "run.json").read_text())
    lines = read_lines(folder / "metrics.jsonl")
    # An iteration cut off between its two lines was done again: the later timing line belongs to its metrics.
    timings = {line["iteration"]: line for line in read_lines(folder / "timing.jsonl")}
    for line in lines:
        timing = timings.get(line["iteration"])
        if timing is not None:
            line["time"] = timing["time"]
            line["metrics"] = line["metrics"] | timing["metrics"]
    summary, error = folder / "summary.json", folder / "error.txt"
    return Run(
        folder=folder,
        key=record["key"],
        name=record["name"],
        stage=record["stage"],
        status=record["status"],
        created=datetime.fromisoformat(record["created"]),
        title=record.get("title") or record["name"],
        updated=record.get("updated"),
        sweep=(record.get("sweep") or {}).get("folder"),
        error=error.read_text().strip().rpartition("\n")[2] if error.is_file() else "",
        params=record["params"],
        tags=record["tags"],
        metrics=lines,
        summary=json.loads(summary.read_text()) if summary.is_file() else {},
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a JSON-lines file, in order; a last line without its newline is still being written."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]
