"""A child process of a session that is started again when it dies, after a time that doubles."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from odkd.common.isolation import deaf_to_interrupts

logger = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a process that died is started again
SOUND_SECONDS = 60.0  # after which a process that dies is started again as soon as the first one was
END_SECONDS = 30.0  # for a process to end by itself
Message = tuple[Any, ...]


class Worker:
    """The answering process's side of a child.

    A child sends messages, the first of them ("ready",). Two kinds are understood here: ("log", name, level, text), and
    ("failed", mistake or None, traceback) before it ends.

    Args:
        name: of the child, for messages: teacher.
        target: what it runs, with `job` and its end of the pipe.
        heard: called with each other message, in a thread of this object.
        died: called in that thread when the process has ended without being asked, before it is started again.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[Any, Any], None],
        job: Any,
        *,
        heard: Callable[[Message], None],
        died: Callable[[], None],
    ) -> None:
        self.name, self._target, self._job, self._heard, self._died = name, target, job, heard, died
        self._ends = threading.Event()
        self._sending, self._starting = threading.Lock(), threading.Lock()
        self._pipe: Connection[Any, Any] | None = None
        self._process: Any = None
        self._was_ready, self._wait = False, FIRST_WAIT
        self.is_ready = False
        self.num_restarts = 0
        self.state = "starting"
        self.mistake: BaseException | None = None  # of the user, before the child was first ready; or of who hears it
        self._thread = threading.Thread(target=self._supervise, daemon=True, name=f"odkd-{name}")

    @property
    def pid(self) -> int | None:
        """The number of the process; None before it is started."""
        pid: int | None = getattr(self._process, "pid", None)
        return pid

    def start(self) -> None:
        """Start the process; return at once."""
        self._thread.start()

    def send(self, *message: Any) -> bool:
        """Send the child a message, which is small; return False if it is not there."""
        with self._sending:
            if self._pipe is None or not self.is_ready:
                return False
            try:
                self._pipe.send(message)
            except OSError:
                return False
            return True

    def stop(self, *, gently: bool) -> None:
        """End the process, and do not start it again.

        Args:
            gently: ask it to end, and wait for as long as it may take to save what it has.
        """
        self._ends.set()
        if gently and self.send("stop"):
            self._thread.join(END_SECONDS)
        with self._starting:
            if self._process is not None:
                self._process.kill()
        if self._thread.is_alive():
            self._thread.join(END_SECONDS)

    def _supervise(self) -> None:
        try:
            self._keep_alive()
        except BaseException as error:  # of `heard` or `died`: nobody would listen any more
            self.mistake = error
        self.state = "ended"

    def _keep_alive(self) -> None:
        while True:
            began = time.monotonic()
            with self._starting:
                if self._ends.is_set():
                    break
                pipe = self._start()
            reason = self._listen(pipe)
            with self._sending:
                self.is_ready, self._pipe = False, None
            pipe.close()
            self._process.join()
            reason = reason or _how(self._process.exitcode)
            if self._ends.is_set() or self.mistake is not None:
                break
            if time.monotonic() - began > SOUND_SECONDS:
                self._wait = FIRST_WAIT
            self.state = f"restarting: {reason}"
            self.num_restarts += 1
            logger.warning("the %s %s; it is started again in %g s, the student goes on", self.name, reason, self._wait)
            self._died()
            self._ends.wait(self._wait)
            self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _start(self) -> Connection[Any, Any]:
        """Start the process; return our end of its pipe."""
        pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=self._target, args=(self._job, theirs), daemon=True)
        with deaf_to_interrupts():
            self._process.start()
        theirs.close()  # only the child has it open then, so that its death ends the pipe
        with self._sending:
            self._pipe = pipe
        return pipe

    def _listen(self, pipe: Connection[Any, Any]) -> str:
        """Hear messages until the process ends; return what it said of its end."""
        while True:
            try:
                message: Message = pipe.recv()
            except (EOFError, OSError):
                return ""
            kind = message[0]
            if kind == "failed":
                error, text = message[1:]
                if error is not None and not self._was_ready:
                    self.mistake = error
                else:
                    logger.info("the %s:\n%s", self.name, text.rstrip())
                return f"failed ({text.strip().splitlines()[-1][:200]})"
            if kind == "log":
                logging.getLogger(message[1]).log(message[2], "%s", message[3])
                continue
            if kind == "ready":
                logger.info("the %s is ready (process %d)", self.name, self._process.pid)
                self._was_ready = self.is_ready = True
                self.state = "running"
            self._heard(message)


def _how(code: int | None) -> str:
    """Return how a process has ended, as text."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
