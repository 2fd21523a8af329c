"""A camera, an address or a file as a live source: opened again when it breaks off, for as long as one has patience."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from odkd.data.video.arrivals import Arrival, Pacer
from odkd.data.video.live import open_live
from odkd.data.video.sizes import brought_to, rgb_of

logger = logging.getLogger(__name__)
RETRY_SECONDS = 1.0  # before a stream is opened again
STALL_SECONDS = 5.0  # without data, after which a stream counts as broken off


class Camera:
    """What PyAV can open: /dev/videoN, rtsp://..., http://..., or a file, which is played at its real speed.

    Args:
        address: as `open_live` takes it.
        size: (height, width) of the student.
        stride: frames from one sampled frame to the next.
        repeats: how often a file is played.
        patience: seconds for which a stream that has broken off is opened again; a file just ends.

    Raises:
        ValueError: it cannot be opened.
    """

    def __init__(
        self, address: str, *, size: tuple[int, int], stride: int, repeats: int = 1, patience: float = 60.0
    ) -> None:
        self._address, self._size, self._stride = address, size, stride
        self._is_file, self._left = Path(address).is_file(), repeats
        self._patience, self._stall = patience, min(patience, STALL_SECONDS)
        self._closed = threading.Event()
        self._number = 0
        self._container: av.container.InputContainer | None = self._open()
        stream = self._container.streams.video[0]
        self.frame_size = (stream.height, stream.width)
        self.state = "running"

    def arrivals(self) -> Iterator[Arrival]:
        """Yield each frame when it comes; give up when none has come for as long as one has patience."""
        last = time.monotonic()
        while not self._closed.is_set():
            problem = "it has ended"
            try:
                for arrival in self._of_connection():
                    if self.state != "running":
                        logger.info("%s is there again", self._address)
                    self.state, last = "running", time.monotonic()
                    yield arrival
            except (av.error.FFmpegError, ValueError) as error:
                problem = str(getattr(error, "strerror", None) or error)
            if self._is_file:
                self._left -= 1
                if self._left < 1:
                    return
                continue
            if self._closed.is_set():
                return
            if time.monotonic() - last > self._patience:
                logger.warning("%s was not there again in %g s (%s)", self._address, self._patience, problem)
                return
            if self.state == "running":
                logger.warning("%s has broken off (%s); it is opened again", self._address, problem)
            self.state = f"waiting for the source: {problem}"
            self._closed.wait(RETRY_SECONDS)

    def close(self) -> None:
        self._closed.set()

    def _open(self) -> av.container.InputContainer:
        return open_live(self._address, timeout_seconds=self._stall)

    def _of_connection(self) -> Iterator[Arrival]:
        """Yield frames until the connection ends."""
        container, self._container = self._container or self._open(), None
        with container:
            is_paced = self._is_file or container.duration is not None  # a file on a server comes faster than it plays
            pacer, began = Pacer(self._closed), None
            for picture in container.decode(video=0):
                if self._closed.is_set():
                    return
                if is_paced and picture.time is not None:
                    began = picture.time if began is None else began
                    if not pacer.wait(picture.time - began):
                        return
                if not picture.is_corrupt:
                    yield self._arrival(picture)

    def _arrival(self, picture: av.VideoFrame) -> Arrival:
        number = self._number
        self._number += 1
        image_HWC: np.ndarray = rgb_of(picture)
        small_HWC = image_HWC if image_HWC.shape[:2] == self._size else rgb_of(picture, self._size)
        return Arrival(number, brought_to(image_HWC, self.frame_size), small_HWC, number % self._stride == 0)
