"""The published lines of a run: metrics.jsonl and timing.jsonl, one line for each iteration."""

import json
import os
from pathlib import Path
from typing import Any

from odkd.common.files import cut_torn_line
from odkd.runs.records import read_lines
from odkd.runs.results import before_last_line

Record = dict[str, Any]


class PublishedLines:
    """The two files of lines in a run folder; a line is appended once and never changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = {"timing": -1, "metrics": -1}  # last iteration in each file

    def repair(self) -> None:
        """Cut off incomplete last lines, and find the last iteration of each file."""
        for name in self._last:
            cut_torn_line(self._folder / f"{name}.jsonl")  # its record is still in the checkpoint
            path = self._folder / f"{name}.jsonl"
            lines = read_lines(path, before_last_line(path))
            self._last[name] = lines[-1]["iteration"] if lines else -1

    def append(self, records: list[Record]) -> None:
        """Append the records (each with "metrics" and "timing") that the files do not have yet, and flush to disk."""
        for name in self._last:  # timing first: a metrics line means that both lines exist
            lines = [record[name] for record in records if record[name]["iteration"] > self._last[name]]
            with (self._folder / f"{name}.jsonl").open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            if lines:
                self._last[name] = lines[-1]["iteration"]

    def metrics(self) -> list[Record]:
        """Return the lines of metrics.jsonl."""
        return read_lines(self._folder / "metrics.jsonl")


def without_nan(record: Record) -> Record:
    """Return a copy of the record in which NaN metrics are None."""
    metrics = {name: None if value != value else value for name, value in record["metrics"].items()}
    return {**record, "metrics": metrics}
