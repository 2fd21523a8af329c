"""What a session writes: metrics lines and checkpoints, by a thread, so that a slow or full disk makes nobody wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from odkd.runs.lines import Record
from odkd.runs.run import OpenRun

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.5  # between two looks
RETRY_SECONDS = 10.0  # after the disk has refused

Line = tuple[Record, Record]


class Scribe:
    """Writes the lines of a run, each with the next checkpoint.

    What the disk refuses is written once it takes it: the session goes on.

    Args:
        run: that the lines are of.
        state: returns what the run is continued from.
    """

    def __init__(self, run: OpenRun, state: Callable[[], dict[str, Any]]) -> None:
        self._run, self._state = run, state
        self._lock, self._ends = threading.Lock(), threading.Event()
        self._lines: list[Line] = []
        self._retry = 0.0
        self._is_refused = self._is_torn = False  # the disk has refused; the last write has failed
        self.error: BaseException | None = None  # no fault of the disk
        self._thread = threading.Thread(target=self._work, daemon=True, name="odkd-scribe")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def note(self, line: Line) -> None:
        """Take a line; it is written soon."""
        with self._lock:
            self._lines.append(line)

    def end(self) -> None:
        """End the thread, whatever is left."""
        self._ends.set()
        self._thread.join()

    def close(self) -> None:
        """End the thread, and write all that is left.

        Raises:
            OSError: the disk refuses it.
        """
        self.end()
        if self.error is not None:
            raise self.error
        self._commit()

    def _work(self) -> None:
        while not self._ends.wait(LOOK_SECONDS):
            if time.monotonic() < self._retry or not self._run.is_checkpoint_due():
                continue
            try:
                self._commit()
                if self._is_refused:
                    logger.info("the run is written again")
                self._is_refused = False
            except OSError as error:
                self._retry = time.monotonic() + RETRY_SECONDS
                if not self._is_refused:
                    logger.warning(
                        "cannot write the run (%s); the session goes on, and what is missing is written once there is "
                        "room",
                        error.strerror or error,
                    )
                self._is_refused = True
            except BaseException as error:  # a fault, which the session raises
                self.error = error
                return

    def _commit(self) -> None:
        if self._is_torn:
            self._run.forget_unwritten()
        with self._lock:
            lines = list(self._lines)
        state, self._is_torn = self._state(), True
        for line in lines:
            self._run.record(*line)
        self._run.commit(state)
        self._is_torn = False
        with self._lock:
            del self._lines[: len(lines)]
