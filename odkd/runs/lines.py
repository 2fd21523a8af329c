"""The published lines of a run: metrics.jsonl and timing.jsonl, one line for each iteration.

A checkpoint vouches for the lines that were published before it: their number and digest. Lines that came after it are
compared with the records of whoever publishes them again. So a line that was lost or changed is found before a
number depends on it.
"""

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from odkd.common.files import cut_torn_line, flush_names, write_atomic
from odkd.common.reading import complete_lines
from odkd.runs.records import read_lines

Record = dict[str, Any]
Vouched = Mapping[str, Any]  # file -> number and digest of its lines
logger = logging.getLogger(__name__)


class PublishedLines:
    """The two files of lines in a run folder; a line is appended once and never changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = {"timing": -1, "metrics": -1}  # last iteration in each file
        self._counts = {"timing": 0, "metrics": 0}
        self._hashes = {name: hashlib.sha256() for name in self._last}
        self._unverified: dict[int, bytes] = {}  # lines of metrics.jsonl that nobody has vouched for, by iteration
        self._verified: set[int] = set()  # iterations vouched for, whose records may come once more

    def repair(self) -> None:
        """Cut off incomplete last lines, and read the lines of an earlier process.

        Raises:
            ValueError: a line of metrics.jsonl is damaged.
        """
        self._unverified = {}
        for name in self._last:
            cut_torn_line(self._path(name))  # its record is still in the checkpoint
            lines = self._lines(name)
            iterations = [_iteration(line) for line in lines]
            is_ascending = all(a < b for a, b in itertools.pairwise(found for found in iterations if found is not None))
            if None in iterations or (name == "metrics" and not is_ascending):  # an old run has timing lines twice
                if name == "metrics":
                    number = next((n for n, found in enumerate(iterations, 1) if found is None), 0)
                    raise ValueError(self._damaged(f"line {number}" if number else "the order of lines"))
                lines = self._without_damaged(lines)
            self._begin(name, lines)
            if name == "metrics":
                self._unverified = {json.loads(line)["iteration"]: line for line in lines}

    def vouched(self) -> dict[str, Any]:
        """Return the number and digest of all lines, for a checkpoint."""
        return {name: [self._counts[name], self._hashes[name].hexdigest()] for name in self._last}

    def check(self, vouched: Vouched | None) -> None:
        """Check the lines that a checkpoint vouches for; call it after `repair`.

        Args:
            vouched: None = a checkpoint of an earlier release, whose run is believed.

        Raises:
            ValueError: lines of metrics.jsonl were lost or changed.
        """
        if vouched is None:
            logger.debug("%s: the checkpoint vouches for no lines; they are not verified", self._folder)
            self._unverified = {}
            return
        for name, (count, digest) in vouched.items():
            lines = self._lines(name)
            if hashlib.sha256(b"".join(lines[:count])).hexdigest() == digest and len(lines) >= count:
                if name == "metrics":
                    self._unverified = {json.loads(line)["iteration"]: line for line in lines[count:]}
                    self._verified = {json.loads(line)["iteration"] for line in lines[:count]}
            elif name == "metrics":
                changed = f"{len(lines)} of {count} lines" if len(lines) < count else "another content"
                raise ValueError(self._damaged(f"{changed}, not what the checkpoint vouches for"))
            else:
                logger.warning("%s was changed: some times of the run are lost", self._path(name))

    def append(self, records: list[Record]) -> list[Record]:
        """Append the records (each with "metrics" and "timing") that the files do not have yet, and flush to disk.

        Return the metrics of those that were appended.

        Raises:
            ValueError: metrics.jsonl has another line for one of them.
        """
        for record in records if self._unverified else ():
            if (number := record["metrics"]["iteration"]) in self._verified:
                continue
            found = self._unverified.pop(number, None)
            if found not in (None, _line(record["metrics"])) or (found is None and number < self._last["metrics"]):
                raise ValueError(self._damaged(f"another line for iteration {number} than its record"))
            self._verified.add(number)
        fresh = [record["metrics"] for record in records if record["metrics"]["iteration"] > self._last["metrics"]]
        for name in self._last:  # timing first: a metrics line means that both lines exist
            lines = [_line(record[name]) for record in records if record[name]["iteration"] > self._last[name]]
            content, is_new = b"".join(lines), not (path := self._path(name)).is_file()
            with path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                flush_names(path.parent)
            if lines:
                self._last[name] = records[-1][name]["iteration"]
                self._counts[name] += len(lines)
                self._hashes[name].update(content)
        return fresh

    def take_up(self) -> None:
        """Go on after a write that has failed: what is in the files now is what this process has written."""
        self.repair()
        self.check(self.vouched())

    def check_end(self) -> None:
        """Check that no line is left that nobody has vouched for.

        Raises:
            ValueError: there is one.
        """
        if self._unverified:
            raise ValueError(
                self._damaged(f"a line for iteration {min(self._unverified)}, which the run does not have")
            )

    def metrics(self) -> list[Record]:
        """Return the lines of metrics.jsonl."""
        return read_lines(self._path("metrics"))

    def _begin(self, name: str, lines: list[bytes]) -> None:
        self._last[name] = _iteration(lines[-1]) or 0 if lines else -1
        self._counts[name] = len(lines)
        self._hashes[name] = hashlib.sha256(b"".join(lines))

    def _without_damaged(self, lines: list[bytes]) -> list[bytes]:
        """Remove lines from timing.jsonl that cannot be read; on them depends no score."""
        logger.warning("%s is damaged: some times of the run are lost", self._path("timing"))
        sound: list[bytes] = []
        last = -1
        for line in lines:
            if (iteration := _iteration(line)) is not None and iteration > last:
                sound.append(line)
                last = iteration
        write_atomic(self._path("timing"), b"".join(sound))
        return sound

    def _lines(self, name: str) -> list[bytes]:
        path = self._path(name)
        return list(complete_lines(path)) if path.is_file() else []

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def _damaged(self, what: str) -> str:
        return (
            f"{self._path('metrics')} is damaged ({what}); restore it from a copy, "
            "or start this run over with run.restart=true"
        )


def without_nan(record: Record) -> Record:
    """Return a copy of the record in which NaN metrics are None."""
    metrics = {name: None if value != value else value for name, value in record["metrics"].items()}
    return {**record, "metrics": metrics}


def _line(record: Record) -> bytes:
    return (json.dumps(record) + "\n").encode()


def _iteration(line: bytes) -> int | None:
    """Return the iteration of a line; None if it cannot be read."""
    try:
        found = json.loads(line)["iteration"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if type(found) is int else None
