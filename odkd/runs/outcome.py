"""The outcome of one job, filled in while it runs: read by the sweep that it belongs to; and the log of the job."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odkd.common.console import say


class RunPruned(Exception):
    """The pruner of a search has ended an unpromising run, which can be resumed from its checkpoint; not an error."""


class Terminated(SystemExit):
    """A request to end this process: its run is marked killed. Any other SystemExit counts as a failure."""

    def __init__(self, reason: str = "terminated") -> None:
        super().__init__(143)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


_exit_is_announced = threading.Event()


def announce_exit() -> None:
    """Note that the manager of this process (Slurm, through submitit) is about to raise SystemExit in it."""
    _exit_is_announced.set()


def is_ending(error: BaseException | None) -> bool:
    """True if the error is a request to end the process, not a failure: Ctrl-C, SIGTERM or an announced exit."""
    is_announced = isinstance(error, SystemExit) and _exit_is_announced.is_set()
    return is_announced or isinstance(error, KeyboardInterrupt | Terminated)


@dataclass
class Outcome:
    """The outcome of a job; a single run has one too, but nothing reads it.

    Args:
        title: the settings that differ between the jobs of the sweep, such as "window.learn=20 seed=1"; "" for a
            single run.
        sweep: key and folder (relative to the outputs) of the sweep, as in run.json; None for a single run.
        has_begun: called when the folder of the run is known.
        pruner: in a search, called with each metrics line; returns a reason to end the run there, or None.
    """

    title: str = ""
    sweep: dict[str, str] | None = None
    has_begun: Callable[[], None] = lambda: None
    pruner: Callable[[Mapping[str, Any]], str | None] | None = None
    status: str = "running"  # running, finished, skipped, resumed, pruned
    run: Path | None = None  # folder
    metric: str | None = None  # name of the value
    value: float | None = None  # the value that a sweep compares
    log: JobLog = field(default_factory=lambda: JobLog())

    def begin(self, run: Path) -> None:
        """Note the folder of the run, which may not exist yet."""
        self.run = run
        self.has_begun()


class JobLog(logging.Handler):
    """The log of one job: kept in memory until the run's folder is known, then written to its run.log.

    A context manager: inside, it receives the messages of all loggers of the process, which runs one job at a time.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
        self._kept: list[str] = []
        self._path: Path | None = None
        self._error: BaseException | None = None
        self._is_refused = False

    def __enter__(self) -> JobLog:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: Any) -> None:
        logging.getLogger().removeHandler(self)
        self._error = None

    @property
    def has_place(self) -> bool:
        """True if the log is a file by now."""
        return self._path is not None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # like the handlers of logging
            self.handleError(record)
        else:
            self.write(text + "\n")

    def write(self, text: str) -> None:
        """Append to the log; if the disk refuses, say so once: that ends no training and hides no other error."""
        if self._path is None:
            self._kept.append(text)
            return
        try:
            with self._path.open("a") as file:
                file.write(text)
        except OSError as error:
            if not self._is_refused:
                say(f"{self._path} lacks what the log says from here on ({error.strerror})", file=sys.stderr)
            self._is_refused = True

    def write_error(self, error: BaseException) -> None:
        """Append the traceback of the error that ended the job; the same error is written only once."""
        if error is not self._error:
            self._error = error
            self.write("".join(traceback.format_exception(error)))

    def move_to(self, path: Path) -> None:
        """Write the log to this file from now on; the file of a resumed run is continued."""
        self._path, kept = path, self._kept
        self._kept = []
        self.write("".join(kept))
