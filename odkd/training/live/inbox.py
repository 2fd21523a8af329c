"""Labelled frames that no training has seen yet: at most so many, the newest ones."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

Labelled = tuple[np.ndarray, np.ndarray]  # image_HWC, label_HW


class Inbox:
    """A thread puts frames in while a training takes its time; the next training takes them out.

    >>> inbox = Inbox(most=2)
    >>> for position in range(3):
    ...     inbox.put(position, np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8))
    >>> list(inbox.take(before=2)), inbox.num_dropped, list(inbox.take(before=3))
    ([1], 1, [2])
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._frames: OrderedDict[int, Labelled] = OrderedDict()
        self.num_dropped = 0

    def put(self, position: int, image_HWC: np.ndarray, label_HW: np.ndarray) -> None:
        """Put a frame in, in place of the oldest one if there are too many."""
        with self._lock:
            self._frames[position] = (image_HWC, label_HW)
            if len(self._frames) > self._most:
                self._frames.popitem(last=False)
                self.num_dropped += 1

    def take(self, before: int) -> dict[int, Labelled]:
        """Take out all frames that came before a position, oldest first."""
        with self._lock:
            return {position: self._frames.pop(position) for position in sorted(self._frames) if position < before}
