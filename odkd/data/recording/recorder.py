"""The recorder of a live session: it takes frames and labels at once and writes them behind the loop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from odkd.data.recording.writing import SessionWriter
from odkd.data.video.lossless import WRITE_ERRORS

logger = logging.getLogger(__name__)
MOST_BYTES = 128e6  # of frames and labels that wait for the disk
LONGEST_END = 60.0  # seconds that the end waits for the disk


class Recorder:
    """Keeps frames and labels of a session, as a dataset that `odkd --config-dir FOLDER/replay` replays.

    Its methods return at once and never raise. What the disk has no time for is dropped and counted. A disk that fails
    ends the recording with one warning, and never the session.

    Args:
        folder: of the recording; another session is appended.
        classes: names, by id.
        palette: [R, G, B] per class.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> None:
        self._folder = folder
        self._writer = SessionWriter(folder, classes=classes, palette=palette)
        self._changed = threading.Condition()
        self._jobs: deque[tuple[int, Callable[[], bool]]] = deque()  # bytes, what to do
        self._num_bytes, self._is_over = 0, False
        self.num_frames, self.num_labels, self.num_dropped = 0, 0, 0
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="odkd-recorder", daemon=True)
        self._thread.start()

    def frame(self, seconds: float, number: int, image_HWC: np.ndarray) -> None:
        """Keep a sampled frame, uint8 RGB, which came `seconds` after the start; the array is copied."""
        kept_HWC = image_HWC.copy()
        self._put(kept_HWC.nbytes, lambda: self._frame(seconds, number, kept_HWC))

    def label(self, number: int, labels_HW: np.ndarray, seconds: float) -> None:
        """Keep the teacher's label of a frame, uint8 ids at its size, which came `seconds` after the start."""
        kept_HW = labels_HW.copy()
        self._put(kept_HW.nbytes, lambda: self._label(number, kept_HW, seconds))

    def took(self, **seconds: float) -> None:
        """Keep mean durations of the session for its replay, by the names of timing=simulated."""
        self._writer.durations.update(seconds)

    def close(self) -> None:
        """Write what waits, and complete the files. Calls after the first do nothing."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(timeout=LONGEST_END)
        if self.num_dropped and self.problem is None:
            logger.warning("%d frames and labels are missing in the recording: the disk was too slow", self.num_dropped)

    def _put(self, num_bytes: int, job: Callable[[], bool]) -> None:
        with self._changed:
            if self._is_over or self.problem is not None or (self._jobs and self._num_bytes + num_bytes > MOST_BYTES):
                self.num_dropped += 1
                return
            self._jobs.append((num_bytes, job))
            self._num_bytes += num_bytes
            self._changed.notify()

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                if not job():
                    with self._changed:
                        self.num_dropped += 1
            self._writer.close()
        except (*WRITE_ERRORS, MemoryError) as error:
            self._stop(error)

    def _next(self) -> Callable[[], bool] | None:
        """Return what is to be done next; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_over)
            if not self._jobs:
                return None
            num_bytes, job = self._jobs.popleft()
            self._num_bytes -= num_bytes
            return job

    def _stop(self, error: BaseException) -> None:
        with self._changed:
            self.problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self.num_dropped += len(self._jobs)
            self._jobs.clear()
        logger.warning("the recording in %s ends here (%s); the session goes on", self._folder, self.problem)
        try:
            self._writer.close()
        except WRITE_ERRORS:
            logger.debug("the last file of the recording is not complete", exc_info=True)

    def _frame(self, seconds: float, number: int, image_HWC: np.ndarray) -> bool:
        self._writer.frame(seconds, number, image_HWC)
        self.num_frames += 1
        return True

    def _label(self, number: int, labels_HW: np.ndarray, seconds: float) -> bool:
        is_kept = self._writer.label(number, labels_HW, seconds)
        self.num_labels += is_kept
        return is_kept
