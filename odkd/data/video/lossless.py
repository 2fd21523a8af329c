"""A video that loses nothing: each picture is kept to the bit (FFV1), as a file that is whole up to its last second.

A picture needs no other one, so a process that is killed loses no more than what it has not handed to the disk.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECONDS = Fraction(1, 1000)  # the ticks of Matroska
NUM_THREADS = 2
WRITE_ERRORS = (OSError, av.error.FFmpegError)  # of a disk that is full, or gone
WRITTEN_EVERY = "500"  # milliseconds of video that are collected before they are written


class LosslessWriter:
    """A writer of pictures of one size; pictures are read back as they were.

    Args:
        path: of the file, which ends in .mkv.
        height, width: of the pictures.
    """

    def __init__(self, path: Path, *, height: int, width: int) -> None:
        options = {"cluster_time_limit": WRITTEN_EVERY, "flush_packets": "1"}
        self._container = av.open(str(path), "w", format="matroska", options=options)
        self._stream = self._container.add_stream("ffv1", rate=25)  # only said in the header
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "bgr0"
        self._stream.options = {"level": "3", "slices": "4", "slicecrc": "1"}
        context = self._stream.codec_context
        context.gop_size, context.time_base, context.thread_count = 1, MILLISECONDS, NUM_THREADS
        self._last = -1
        self.num_written = 0

    def write(self, image_HWC: np.ndarray, seconds: float) -> None:
        """Append a picture, uint8 RGB, shown from `seconds` on; times are kept to the millisecond, and ascend."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24").reformat(format="bgr0")
        self._last = max(self._last + 1, round(seconds * 1000))
        frame.pts, frame.time_base = self._last, MILLISECONDS
        self._container.mux(self._stream.encode(frame))
        self.num_written += 1

    def close(self) -> None:
        """Complete the file.

        Raises:
            WRITE_ERRORS: it cannot be completed; what is on disk can be read.
        """
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            with contextlib.suppress(ValueError):  # it is closed
                self._container.close()
