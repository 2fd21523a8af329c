"""Encoding of pictures to an H.264 file that every browser plays and that gets its name only when it is complete."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

MOST_SIDE = 16384  # pixels in a row or column, of libx264
NUM_THREADS = 2  # fixed: x264's output depends on it, and must not depend on the machine


class VideoWriter:
    """A writer of RGB pictures as yuv420p H.264 in an mp4 whose index comes first, so that it plays while it loads.

    Use it as a context manager, with one writer per path. Pictures are collected in ``NAME.part`` next to the path.
    This file takes the final name when the block ends normally and is removed when it ends in an exception; a killed
    process leaves it behind, and the next writer of the same path overwrites it. H.264 4:2:0 needs even sizes: an odd
    width or height is padded by repeating its last column or row.

    Raises:
        ValueError: an impossible size or frame rate, a picture of another shape or type, or no picture.
        RuntimeError: this build of PyAV has no libx264.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        frame_rate: float,
        crf: int = 18,
        keyframe_interval: int = 25,
    ) -> None:
        check_sides(height, width)
        if width < 1 or height < 1 or not 0 < frame_rate < 1000:
            raise ValueError(
                f"{path.name}: cannot write a video of {width}x{height} pixels at {frame_rate} frames per second: "
                "width and height must be at least 1, the frame rate above 0 and below 1000"
            )
        self.path = path
        self._shape = (height, width, 3)
        self._is_empty = True
        self._partial = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "faststart"})
        rate = Fraction(frame_rate).limit_denominator(100_000)
        self._stream = open_encoder(self._container, height=height, width=width, rate=rate, crf=crf)
        self._stream.codec_context.gop_size = keyframe_interval

    def write(self, image_HWC: np.ndarray) -> None:
        """Append one picture: uint8 RGB of the writer's height and width."""
        if image_HWC.shape != self._shape or image_HWC.dtype != np.uint8:
            raise ValueError(
                f"{self.path.name}: got a picture of shape {image_HWC.shape} and type {image_HWC.dtype}, "
                f"expected {self._shape} and uint8"
            )
        self._is_empty = False
        self._container.mux(self._stream.encode(to_yuv(image_HWC)))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = False
        try:
            if kind is None and self._is_empty:
                raise ValueError(f"{self.path.name}: a video needs at least one picture, but no picture was written")
            if kind is None:
                self._container.mux(self._stream.encode(None))
                self._container.close()
                self._partial.replace(self.path)
                finished = True
        finally:
            if not finished:
                self._container.close()
                self._partial.unlink(missing_ok=True)


def check_sides(height: int, width: int) -> None:
    """Check that H.264 can hold pictures of this size.

    Raises:
        ValueError: a side is too long.
    """
    if max(height, width) > MOST_SIDE:
        raise ValueError(f"a video of {height}x{width} pixels cannot be written: expected at most {MOST_SIDE} a side")


def open_encoder(
    container: av.container.OutputContainer, *, height: int, width: int, rate: Fraction, crf: int
) -> av.VideoStream:
    """Add a stream of H.264 to a file, for pictures of this size that `to_yuv` has converted.

    Raises:
        RuntimeError: this build of PyAV has no libx264.
    """
    if "libx264" not in av.codecs_available:
        raise RuntimeError("this build of PyAV has no libx264 encoder; install the wheel: pip install av")
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = width + width % 2, height + height % 2
    stream.pix_fmt = "yuv420p"
    # mbtree off: with it and B-frames, libx264 writes different bytes for the same pictures from run to run.
    stream.options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
    context = stream.codec_context
    context.thread_count = NUM_THREADS
    # Some players guess untagged colour spaces from the size; these tags match the conversion of `to_yuv`.
    context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
    return stream


def to_yuv(image_HWC: np.ndarray) -> av.VideoFrame:
    """Return a picture, uint8 RGB, as the encoder takes it; an odd last column or row is repeated."""
    height, width = image_HWC.shape[:2]
    padded = np.ascontiguousarray(np.pad(image_HWC, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
    frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG)
