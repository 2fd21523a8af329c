"""Frames that wait for the student: in order while it keeps up, the newest alone when it cannot."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from odkd.data.video.arrivals import Arrival

MOST_WAITING = 8  # frames that a student may be late by for a moment, if it is fast enough to catch up
WEIGHT = 0.1  # of the newest value in a moving average


@dataclass(frozen=True)
class Waiting:
    """A frame and what is known of its coming.

    Args:
        arrival: the frame.
        seconds: of the session, when it came.
        number: among the sampled frames; None if it is not one.
    """

    arrival: Arrival
    seconds: float
    number: int | None


@dataclass(frozen=True)
class Taken:
    """What is answered next.

    Args:
        frame: that is to be answered.
        skipped: sampled frames before it for which there was no time: the answer before stands.
        num_skipped: all frames for which there was no time.
    """

    frame: Waiting
    skipped: tuple[int, ...]
    num_skipped: int


class Queue:
    """Between the thread that reads the source and the one that answers.

    As long as an answer takes less time than a frame, all frames are answered in order: a moment of delay is made up
    for. Otherwise only the newest frame waits, so that the newest answer is never older than one frame and the time
    that an answer takes. Of skipped frames nothing but their numbers is kept.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[Waiting] = deque()
        self._skipped: list[int] = []
        self._num_skipped, self._has_ended = 0, False
        self._interval = self._answer = 0.0  # moving averages, seconds
        self._last: float | None = None

    @property
    def keeps_up(self) -> bool:
        """True if an answer takes less time than passes from one frame to the next."""
        return self._answer <= self._interval

    def put(self, frame: Waiting) -> None:
        """Put a frame in that has just come."""
        with self._changed:
            if self._last is not None:
                self._interval = _averaged(self._interval, frame.seconds - self._last)
            self._last = frame.seconds
            self._frames.append(frame)
            while len(self._frames) > (MOST_WAITING if self.keeps_up else 1):
                skipped = self._frames.popleft()
                self._num_skipped += 1
                if skipped.number is not None:
                    self._skipped.append(skipped.number)
            self._changed.notify()

    def take(self, timeout_seconds: float) -> Taken | None:
        """Wait for the frame that is to be answered next; None if none comes in this time, or any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._has_ended, timeout_seconds)
            if not self._frames:
                return None
            taken = Taken(self._frames.popleft(), tuple(self._skipped), self._num_skipped)
            self._skipped, self._num_skipped = [], 0
            return taken

    def took(self, seconds: float) -> None:
        """Note how long an answer has taken."""
        with self._changed:
            self._answer = _averaged(self._answer, seconds)

    def end(self) -> None:
        """Note that no more frames will come."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    @property
    def is_over(self) -> bool:
        """True if no frame waits and no more will come."""
        return self._has_ended and not self._frames


def _averaged(before: float, now: float) -> float:
    return now if before == 0.0 else before + WEIGHT * (now - before)
