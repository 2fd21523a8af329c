"""Ctrl-C and SIGTERM ask a session to end between two frames, with everything saved; the second time they end it."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any, Self

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """A context manager in which these signals are heard, in the main thread; elsewhere it does nothing."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, *_: object) -> None:
        """Note that the session is to end; the next signal is not ours any more."""
        self.is_asked = True
        self._restore()

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
