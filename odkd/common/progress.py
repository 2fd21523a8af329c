"""The progress of a long task, logged every few seconds."""

import logging
import time

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0


class Progress:
    """A progress message, logged every few seconds."""

    def __init__(self, verb: str, unit: str) -> None:
        self._verb, self._unit = verb, unit
        self._started = self._logged = time.monotonic()

    def __call__(self, done: int, total: int, where: str = "") -> None:
        """Log how much is done, if the last message is old enough."""
        now = time.monotonic()
        if now - self._logged >= PROGRESS_SECONDS:
            self._logged = now
            rate = done / (now - self._started)
            logger.info("%s %d/%d %s%s (%.1f/s)", self._verb, done, total, self._unit, where, rate)
