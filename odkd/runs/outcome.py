"""What became of one job, filled in while it runs: for the sweep that it belongs to, and its log file."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class RunPruned(Exception):  # noqa: N818 - an ending, no fault
    """A search has ended a run that promises little; it can be gone on with from its checkpoint."""


class Terminated(SystemExit):
    """This process was told to end: what it runs is marked killed. Any other SystemExit is a component's failure."""

    def __init__(self, reason: str = "terminated") -> None:
        super().__init__(143)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


_exit_is_announced = threading.Event()


def announce_exit() -> None:
    """Whoever manages this process (Slurm, through submitit) is about to end it by a SystemExit of its own."""
    _exit_is_announced.set()


def is_ending(error: BaseException | None) -> bool:
    """Whether this is somebody ending the process or the run, and no failure: Ctrl-C, SIGTERM, an announced exit."""
    is_announced = isinstance(error, SystemExit) and _exit_is_announced.is_set()
    return is_announced or isinstance(error, KeyboardInterrupt | Terminated)


@dataclass
class Outcome:
    """The notes of a job. A single run has them too, and nobody reads them.

    Args:
        title: what differs between the jobs of the sweep, such as "window.learn=20 seed=1"; "" for a single run.
        sweep: key and folder (relative to the outputs) of the sweep, as run.json holds them; None for a single run.
        has_begun: called when the folder of the run is known.
        pruner: of a search: is shown each metrics line, and gives a reason to end the run there, or None.
    """

    title: str = ""
    sweep: dict[str, str] | None = None
    has_begun: Callable[[], None] = lambda: None
    pruner: Callable[[Mapping[str, Any]], str | None] | None = None
    status: str = "running"  # running, finished, skipped, resumed, pruned
    run: Path | None = None  # folder
    metric: str | None = None  # name of the value
    value: float | None = None  # what a sweep compares
    log: JobLog = field(default_factory=lambda: JobLog())

    def begin(self, run: Path) -> None:
        """The folder of the run is known, though it may not be there yet."""
        self.run = run
        self.has_begun()


class JobLog(logging.Handler):
    """A job's own log: kept in memory until it is known where the run's folder is, then in its run.log.

    A context: it listens to all loggers of the process, whose jobs come one after another.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
        self._kept: list[str] = []
        self._path: Path | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> JobLog:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: Any) -> None:
        logging.getLogger().removeHandler(self)
        self._error = None

    @property
    def has_place(self) -> bool:
        """Whether this is a file by now."""
        return self._path is not None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record) + "\n")
        except Exception:  # as logging's own handlers do: a full disk must not end a training from here
            self.handleError(record)

    def write(self, text: str) -> None:
        """Append to the log."""
        if self._path is None:
            self._kept.append(text)
        else:
            with self._path.open("a") as file:
                file.write(text)

    def write_error(self, error: BaseException) -> None:
        """Append the traceback of what ended the job, once."""
        if error is not self._error:
            self._error = error
            self.write("".join(traceback.format_exception(error)))

    def move_to(self, path: Path) -> None:
        """From here on the log is this file; a resumed run's log goes on."""
        self._path, kept = path, self._kept
        self._kept = []
        self.write("".join(kept))
