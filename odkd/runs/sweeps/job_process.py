"""The process of a job, if it is not the launching process: how it is ended, and the form of its log lines."""

import _thread
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from odkd.common.console import console
from odkd.runs.outcome import Terminated
from odkd.runs.sweeps.plan import SweepPlan

LOOK_SECONDS = 0.5  # interval between two checks for the stop file


def number_lines(number: int) -> None:
    """Begin each log line with the job's number: jobs in several processes share a console."""
    if (place := console()) is not None:
        place.share(number)


@contextlib.contextmanager
def watched(plan: SweepPlan) -> Iterator[None]:
    """Make SIGTERM and the sweep's stop file end a job that runs in a separate process; its run is marked killed.

    A job outside the main thread cannot be interrupted and runs to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: the ending itself must not be interrupted
        raise Terminated(plan.stop_reason() or "terminated")

    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            with contextlib.suppress(OSError):  # of a network's disk for a moment: it looks again
                if plan.stop_reason() is not None:
                    if not over.is_set():
                        _thread.interrupt_main(signal.SIGTERM)
                    return

    signal.signal(signal.SIGTERM, terminate)  # `isolated` puts the old one back
    watcher = threading.Thread(target=look, name="odkd-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
