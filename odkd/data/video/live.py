"""A camera or a stream of which only the newest frame counts: frames that nobody took in time are dropped."""

from __future__ import annotations

import re
import threading
import time

import av
import numpy as np

TIMEOUT_SECONDS = 30.0  # without data, after which a stream counts as ended


class Latest:
    """The newest frame of a stream, read by a thread; older ones that nobody took are counted as dropped."""

    def __init__(self, address: str) -> None:
        self._changed = threading.Condition()
        self._frame: tuple[float, np.ndarray] | None = None
        self.num_dropped, self.problem, self._has_ended = 0, "", False
        self._container = open_live(address)
        self._thread = threading.Thread(target=self._read, daemon=True, name="odkd-live")
        self._thread.start()

    def take(self) -> tuple[float, np.ndarray] | None:
        """Return (seconds, image) of the newest frame, once there is one; None at the end of the stream."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._has_ended)
            taken, self._frame = self._frame, None
            return taken

    def close(self) -> None:
        """Stop reading."""
        self._has_ended = True
        self._thread.join(timeout=2)

    def _read(self) -> None:
        try:
            for picture in self._container.decode(video=0):
                if self._has_ended:
                    break
                with self._changed:
                    self.num_dropped += self._frame is not None
                    self._frame = (time.monotonic(), picture.to_ndarray(format="rgb24"))
                    self._changed.notify()
        except av.error.FFmpegError as error:
            self.problem = error.strerror or str(error)
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify()
            self._container.close()


def open_live(address: str, timeout_seconds: float = TIMEOUT_SECONDS) -> av.container.InputContainer:
    """Open a camera (camera:0, /dev/video0) or an address.

    Raises:
        ValueError: it cannot be opened, or has no picture.
    """
    camera = re.fullmatch(r"camera:(\d+)|(/dev/video\d+)", address)
    name = f"/dev/video{camera[1]}" if camera and camera[1] is not None else address
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
    try:
        container = av.open(name, "r", "v4l2" if camera else None, timeout=timeout_seconds, options=options)
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(f"{address} cannot be opened ({error}); check the address") from error
    if not container.streams.video:
        raise ValueError(f"{address} has no picture; expected a stream of video")
    return container
