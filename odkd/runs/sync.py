"""When run folders are copied to MLflow: in the background of a run (`Follower`), and at its end (`send`).

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
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from odkd.common.files import write_json
from odkd.runs.mlflow_client import check_mlflow, without_password
from odkd.runs.mlflow_place import place_of, remember_place
from odkd.runs.mlflow_sync import forget as forget_run
from odkd.runs.mlflow_sync import is_complete, sync
from odkd.runs.records import read_sweep
from odkd.runs.results import last_lines, status_of
from odkd.runs.run_file import read_record, write_record

logger = logging.getLogger(__name__)
PATIENCE = 2.0  # seconds before the first pass of a job of a sweep: one that takes less is sent in one pass, at its end
BRIEFLY = 10.0  # seconds to wait for MLflow in a sweep, where other jobs wait, and when a run is interrupted

# The cause of a failed request: an error of the system, a server that does not answer, the last error urllib3 quotes.
CAUSES = (
    r"\[Errno -?\d+\] ([^\"')]+)",
    r"(Read timed out)",
    r"(?:Caused by |Connection aborted).*['\"]([^'\"]+)['\"]\)",
)


class Follower:
    """A background thread that syncs a run folder every `seconds`.

    It never raises into the training loop and never makes it wait: without MLflow, training continues, and `error`
    holds the last failure (None after a successful pass).
    """

    def __init__(self, run_folder: Path, *, uri: str, experiment: str, seconds: float) -> None:
        self.error: Exception | None = None
        self._run_folder = run_folder
        self._uri = uri
        self._sync = functools.partial(sync, run_folder, uri=uri, experiment=experiment)
        self._seconds, self._patience = seconds, 0.0
        self._sent: dict[str, int] = {}  # bytes of files of lines that were sent: a pass reads the rest
        self._closing, self._has_passed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="odkd-follower", daemon=True)

    @classmethod
    def of(cls, run_folder: Path, cfg: DictConfig) -> Follower:
        """Return the follower of a run or sweep, and note where it goes, for `odkd-sync`."""
        remember_place(cfg)
        return cls(run_folder, **place_of(cfg), seconds=cfg.tracking.seconds)

    def start(self, *, after_seconds: float = 0.0) -> None:
        """Start the thread, which begins with a pass after so many seconds; return at once."""
        self._patience = after_seconds
        self._thread.start()

    def wait(self, timeout_seconds: float) -> None:
        """Wait until the first pass is over, successful or not; if MLflow was reached, the MLflow run exists then."""
        self._has_passed.wait(timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Sync a last time, with files and status; run.json must hold the final status by now.

        A pass that takes longer than `timeout_seconds` is left to the thread, which does not keep the process alive.

        Returns:
            False after a timeout or a failure; a logged message then says how to send the rest.
        """
        self._closing.set()
        self._thread.join(timeout_seconds)
        if not self._thread.is_alive() and self.error is None:
            return True
        reason = f"no answer in {timeout_seconds:g} s" if self._thread.is_alive() else brief(self.error)
        logger.warning(
            "MLflow at %s has not received everything: %s. Nothing is lost: send it with  odkd-sync %s\n%s",
            without_password(self._uri),
            reason,
            shlex.quote(str(self._run_folder)),
            advice(self._uri),
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
            self._sync(artifacts=is_last, sent=self._sent)
            self._sent, self.error = newest, None
        except Exception as error:  # tracking must not end a training; close() reports what is missing
            self.error = error
            if was_reached and not is_last:
                logger.warning("MLflow at %s: %s; the run goes on", without_password(self._uri), brief(error))


def check_tracking(cfg: DictConfig) -> None:
    """Check that the library is there that logs to MLflow, if the config wants that.

    Raises:
        ValueError: it is not installed.
    """
    if cfg.tracking.enabled:
        check_mlflow(place_of(cfg)["uri"], "tracking=mlflow", "or add tracking=none, which keeps the run folder only")


def send(folder: Path, cfg: DictConfig, *, briefly: bool = False) -> bool:
    """Send MLflow what it does not have yet of a run that has ended; log a failure, and return False then."""
    place = place_of(cfg)
    if not cfg.tracking.enabled or is_complete(folder, **place):
        return True
    follower = Follower(folder, **place, seconds=cfg.tracking.seconds)
    follower.start()
    return follower.close(timeout_seconds=close_seconds(cfg, briefly=briefly))


def close_seconds(cfg: DictConfig, *, briefly: bool) -> float:
    """Return how many seconds to wait for the last pass of a run."""
    seconds = float(cfg.tracking.close_seconds)
    return min(seconds, BRIEFLY) if briefly else seconds


def forget(folder: Path, cfg: DictConfig) -> None:
    """Delete a folder that stands for a failure, and its MLflow run, when the failure no longer counts."""
    errors: list[Exception | None] = [TimeoutError(f"no answer in {BRIEFLY:g} s")]

    def try_it() -> None:
        try:
            forget_run(folder, **place_of(cfg))
            errors.append(None)
        except Exception as error:  # the run stays in MLflow as failed
            errors.append(error)

    if cfg.tracking.enabled:
        thread = threading.Thread(target=try_it, name="odkd-forget", daemon=True)
        thread.start()
        thread.join(BRIEFLY)
        if (error := errors[-1]) is not None:
            where = without_password(place_of(cfg)["uri"])
            logger.warning("MLflow at %s: %s; the failed run of %s stays there", where, brief(error), folder)
    shutil.rmtree(folder)


def brief(error: BaseException | None) -> str:
    """Return the one line of an error that a user can act on; MLflow wraps it three times."""
    text = str(error).strip() or repr(error)
    causes = (re.search(pattern, text) for pattern in CAUSES)
    found = next((cause.group(1) for cause in causes if cause), text.splitlines()[0])
    return textwrap.shorten(found, 300, placeholder=" ...")


def advice(uri: str) -> str:
    """Return what to do when MLflow was not reached."""
    if uri.startswith("sqlite:"):
        path = uri.removeprefix("sqlite:///")
        return f"If {path} stays unusable, move it away and try again."
    return f"Start the MLflow server at {without_password(uri)} or name another with --uri, then try again."


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
                    write_json(sweep, read_sweep(run_folder) | {"status": "killed"})
            return bool(record["status"] == "running")
    except Timeout:
        return False
