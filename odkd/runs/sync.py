"""When run folders are copied to trackers: in the background of a run (`Follower`), and at its end (`Tracking.send`).

The command `odkd-sync` is `odkd.commands.sync`.
"""

from __future__ import annotations

import functools
import logging
import re
import shlex
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from odkd.common.temporary import remove_left_behind
from odkd.runs.reaching import is_unreachable
from odkd.runs.records import read_sweep, write_record_of
from odkd.runs.results import last_lines, status_of
from odkd.runs.run_file import read_record, write_record
from odkd.runs.tracker import Tracker

logger = logging.getLogger(__name__)
PATIENCE = 2.0  # seconds before the first pass of a job of a sweep: one that takes less is sent in one pass, at its end
BRIEFLY = 10.0  # seconds to wait for trackers in a sweep, where other jobs wait, and when a run is interrupted

# The cause of a failed request: an error of the system, a server that does not answer, the last error urllib3 quotes.
CAUSES = (
    r"\[Errno -?\d+\] ([^\"')]+)",
    r"(Read timed out)",
    r"(?:Caused by |Connection aborted).*['\"]([^'\"]+)['\"]\)",
)


class Follower:
    """A background thread that copies a run folder to a tracker every `seconds`.

    It never raises into the training loop and never makes it wait: without the tracker, training continues, and `error`
    holds the last failure (None after a successful pass).
    """

    def __init__(self, run_folder: Path, tracker: Tracker, *, seconds: float) -> None:
        self.error: BaseException | None = None
        self._run_folder, self._tracker = run_folder, tracker
        self._seconds, self._patience = seconds, 0.0
        self._sent: dict[str, int] = {}  # bytes of files of lines that were sent: a pass reads the rest
        self._closing, self._has_passed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="odkd-follower", daemon=True)

    def start(self, *, after_seconds: float = 0.0) -> None:
        """Start the thread, which begins with a pass after so many seconds; return at once."""
        self._patience = after_seconds
        self._thread.start()

    def wait(self, timeout_seconds: float) -> None:
        """Wait until the first pass is over, successful or not; if the tracker was reached, its run exists then."""
        self._has_passed.wait(timeout_seconds)

    def end(self) -> None:
        """Have the thread make its last pass now; return at once. run.json must hold the final status by now."""
        self._closing.set()

    def close(self, timeout_seconds: float, *, waited_seconds: float = 0.0) -> bool:
        """Sync a last time, with files and status; run.json must hold the final status by now.

        A pass that takes longer than `timeout_seconds`, of which `waited_seconds` are over, is left to the thread,
        which does not keep the process alive.

        Returns:
            False after a timeout or a failure; a logged message then says how to send the rest.
        """
        self.end()
        self._thread.join(max(0.0, timeout_seconds - waited_seconds))
        if not self._thread.is_alive() and self.error is None:
            return True
        reason = f"no answer in {timeout_seconds:g} s" if self._thread.is_alive() else brief(self.error)
        advice = advice_of(self._tracker, self._run_folder, self.error)
        logger.warning(
            "%s has not received everything: %s. Nothing is lost: send it with  odkd-sync %s%s",
            *(self._tracker.place, reason, shlex.quote(str(self._run_folder)), f"\n{advice}" if advice else ""),
        )
        return False

    def _follow(self) -> None:
        if not self._closing.wait(self._patience):
            self._pass(is_last=False)
        self._has_passed.set()
        while not self._closing.wait(self._seconds):
            self._pass(is_last=False)
        self._pass(is_last=True)

    def _pass(self, *, is_last: bool) -> None:
        was_reached = self.error is None
        try:
            newest = last_lines(self._run_folder)
            self._tracker.sync(self._run_folder, is_last=is_last, sent=self._sent)
            self._sent, self.error = newest, None
        except BaseException as error:  # tracking must not end a training; close() reports what is missing
            self.error = error
            if was_reached and not is_last:
                logger.warning("%s: %s; the run goes on", self._tracker.place, brief(error))


class Followers:
    """The followers of one run, one for each tracker, so that none waits for another."""

    def __init__(self, followers: Sequence[Follower]) -> None:
        self._followers = followers

    def start(self, *, after_seconds: float = 0.0) -> None:
        """Start all; return at once."""
        for follower in self._followers:
            follower.start(after_seconds=after_seconds)

    def wait(self, timeout_seconds: float) -> None:
        """Wait until the first pass of each is over, at most so long for all."""
        end = time.monotonic() + timeout_seconds
        for follower in self._followers:
            follower.wait(max(0.0, end - time.monotonic()))

    def close(self, timeout_seconds: float) -> bool:
        """Have all sync a last time, at the same time; return True if all were reached within these seconds."""
        for follower in self._followers:
            follower.end()
        began = time.monotonic()
        closed = [f.close(timeout_seconds, waited_seconds=time.monotonic() - began) for f in self._followers]
        return all(closed)


@dataclass(frozen=True)
class Tracking:
    """The trackers of a config, and when they are told.

    Args:
        make: builds the trackers anew, by name: an object follows one run.
        note: notes in a run's folder where it is copied to, for `odkd-sync`.
        seconds: between two passes.
        close_seconds: to wait for the last pass of a run.
    """

    make: Callable[[], Mapping[str, Tracker]] = dict
    note: Callable[[Path], None] = lambda _: None
    seconds: float = 10.0
    close_seconds: float = 60.0
    trackers: Mapping[str, Tracker] = field(init=False)

    def __post_init__(self) -> None:
        """Build the trackers once, so that a mistake shows."""
        object.__setattr__(self, "trackers", self.make())

    def follow(self, folder: Path, *, after_seconds: float = 0.0) -> Followers:
        """Start to follow a run or sweep; note where it goes."""
        self.note(folder)
        followers = Followers([Follower(folder, tracker, seconds=self.seconds) for tracker in self.make().values()])
        followers.start(after_seconds=after_seconds)
        return followers

    def is_complete(self, folder: Path) -> bool:
        """True if all trackers have all of a run that has ended, according to its folder."""
        return all(tracker.is_complete(folder) for tracker in self.trackers.values())

    def send(self, folder: Path, *, briefly: bool = False) -> bool:
        """Send what trackers do not have yet of a run that has ended; log a failure, and return False then."""
        late = [tracker for tracker in self.make().values() if not tracker.is_complete(folder)]
        if not late:
            return True
        remove_left_behind(folder)  # of a process that was killed while it sent the rest
        self.note(folder)
        followers = Followers([Follower(folder, tracker, seconds=self.seconds) for tracker in late])
        followers.start()
        return followers.close(self.wait_seconds(briefly=briefly))

    def wait_seconds(self, *, briefly: bool) -> float:
        """Return how many seconds to wait for the last pass of a run."""
        return min(self.close_seconds, BRIEFLY) if briefly else self.close_seconds

    def forget(self, folder: Path) -> None:
        """Delete a folder that stands for a failure, and its copies, when the failure no longer counts."""
        end = time.monotonic() + BRIEFLY
        for tracker in self.trackers.values():
            error = _within(functools.partial(tracker.forget, folder), max(0.0, end - time.monotonic()))
            if error is not None:
                logger.warning("%s: %s; the failed run of %s stays there", tracker.place, brief(error), folder)
        shutil.rmtree(folder)


def advice_of(tracker: Tracker, folder: Path, error: BaseException | None) -> str:
    """Return what to do about a tracker after an error; a function is asked only if it was not reached.

    Args:
        tracker: the tracker.
        folder: of the run.
        error: of the pass; None = it gave no answer in time.
    """
    advice = getattr(tracker, "advice", "")
    if not callable(advice):
        return str(advice)
    return str(advice(error)) if is_unreachable(error, folder) else ""


def _within(job: Callable[[], None], seconds: float) -> BaseException | None:
    """Do a job on a thread that may take so long; return its error, or that it was late."""
    errors: list[BaseException | None] = [TimeoutError(f"no answer in {BRIEFLY:g} s")]

    def try_it() -> None:
        try:
            job()
            errors.append(None)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=try_it, name="odkd-forget", daemon=True)
    thread.start()
    thread.join(seconds)
    return errors[-1]


def brief(error: BaseException | None) -> str:
    """Return the one line of an error that a user can act on; MLflow wraps it three times."""
    text = str(error).strip() or repr(error)
    causes = (re.search(pattern, text) for pattern in CAUSES)
    found = next((cause.group(1) for cause in causes if cause), text.splitlines()[0])
    return textwrap.shorten(found, 300, placeholder=" ...")


def mark_if_killed(run_folder: Path) -> bool:
    """Write status "killed" into run.json if it says "running" and no process holds the run's lock.

    Returns:
        True if the status was changed.
    """
    if status_of(run_folder) != "running":
        return False
    try:
        with FileLock(run_folder / "run.lock", timeout=0):
            record = read_record(run_folder)  # the run may have ended since
            if record["status"] == "running":
                write_record(run_folder, record | {"status": "killed"})
                if (sweep := run_folder / "sweep.json").is_file():
                    write_record_of(sweep, read_sweep(run_folder) | {"status": "killed"})
            return bool(record["status"] == "running")
    except Timeout:
        return False
