"""Frames of a live source as they come: what every source yields, and the clock that keeps files at real speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MOST_LATE = 1.0  # seconds; more were lost (the process was stopped), and playing goes on from where it was


@dataclass(frozen=True)
class Arrival:
    """A frame that has just come.

    Args:
        number: of the frame in the source, from 0.
        image_HWC: uint8 RGB, as large as it came.
        small_HWC: uint8 RGB at the student's size.
        is_sampled: it is one of those that the teacher may see.
        position: in the dataset's stream; None if it is no frame of a dataset.
        domain: where it was taken; "" if unknown.
    """

    number: int
    image_HWC: np.ndarray
    small_HWC: np.ndarray
    is_sampled: bool
    position: int | None = None
    domain: str = ""


class LiveSource(Protocol):
    """A source of frames at their real speed; `arrivals` is used by one thread.

    `frame_size` is (height, width) of its frames, `state` what it does: "running", or "waiting for the source: why".
    """

    frame_size: tuple[int, int]
    state: str

    def arrivals(self) -> Iterator[Arrival]:
        """Yield each frame when it comes, until the source ends or is closed.

        Raises:
            ValueError: it cannot be opened.
        """

    def close(self) -> None:
        """End `arrivals`, from any thread, within a moment."""


class Pacer:
    """Holds frames back until their time.

    Args:
        closed: set when nobody waits for frames any more.
    """

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed
        self._began: float | None = None

    def wait(self, seconds: float) -> bool:
        """Wait until a time since the first frame; return False if nobody waits for it any more."""
        now = time.monotonic()
        if self._began is None:
            self._began = now - seconds
        left = self._began + seconds - now
        if left < -MOST_LATE:
            self._began -= left
        return not self._closed.wait(max(0.0, left))
