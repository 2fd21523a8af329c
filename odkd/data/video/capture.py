"""Recording of a live stream at a low frame rate, in short files; the stream is reopened after a failure."""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import glob
import logging
import re
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np

from odkd.data.video.encode import VideoWriter

logger = logging.getLogger(__name__)

LONGEST_GAP_SECONDS = 5.0  # between two frames of one file; a longer gap begins a new file
CLOCK_TOLERANCE = 0.02  # of the interval between two kept pictures, because containers round timestamps


@dataclass(frozen=True)
class Capture:
    """The settings of a recording.

    Args:
        address: URL or file name of the stream.
        folder: where the files go: NAME_0001_YYYYMMDD-HHMMSS.mp4 (UTC), NAME_0002_..., ...
        name: the beginning of the file names.
        frame_rate: pictures kept per second of the stream's time.
        minutes: length of the recording.
        segment_minutes: length of one file.
        pause_seconds: wait before the stream is reopened after it failed or ended.
        retries: consecutive connections without a picture after which the recording fails.
        timeout_seconds: time without data after which a connection counts as failed.
        crf: H.264 quality (constant rate factor; lower is better).
    """

    address: str
    folder: Path
    name: str
    frame_rate: float = 1.0
    minutes: float = 60.0
    segment_minutes: float = 10.0
    pause_seconds: float = 10.0
    retries: int = 30
    timeout_seconds: float = 30.0
    crf: int = 18


def capture(settings: Capture, *, sleep: Callable[[float], None] = time.sleep) -> list[Path]:
    """Record until there are enough pictures or a local file ends; return the files.

    A new file begins where the stream breaks off or its clock jumps, so that pictures within a file are evenly spaced.
    KeyboardInterrupt completes the current file and ends the recording normally. Existing files stay, and the
    numbering continues after them.

    Raises:
        ValueError: the stream cannot be opened, or yields no more pictures. Recorded files stay.
    """
    wanted = max(1, round(settings.minutes * 60 * settings.frame_rate))
    in_a_file = max(1, round(settings.segment_minutes * 60 * settings.frame_rate))
    files: list[Path] = []
    num_pictures, is_interrupted = 0, False
    pictures = _pictures(settings, sleep)
    image: np.ndarray | None = None
    with closing(pictures):
        while num_pictures < wanted and not is_interrupted:
            try:
                while image is None:
                    image = next(pictures)
            except (StopIteration, KeyboardInterrupt):
                break
            path, shape, length = _next_file(settings), image.shape, 0
            with VideoWriter(
                path, width=shape[1], height=shape[0], frame_rate=settings.frame_rate, crf=settings.crf
            ) as writer:
                try:
                    while image is not None and image.shape == shape and length < in_a_file:
                        writer.write(image)
                        length += 1
                        image = next(pictures, None) if num_pictures + length < wanted else None
                except KeyboardInterrupt:
                    is_interrupted = True
            files.append(path)
            num_pictures += length
            logger.info("%s: %d pictures, %d of %d in all", path, length, num_pictures, wanted)
    return files


def _pictures(settings: Capture, sleep: Callable[[float], None]) -> Generator[np.ndarray | None]:
    """Yield uint8 RGB [H, W, 3], `1 / frame_rate` seconds apart, and None at each gap; reconnect after each end."""
    failures = 0
    while True:
        problem, is_empty = "the stream has ended", True
        try:
            for image in _pictures_of_connection(settings):
                is_empty = is_empty and image is None
                yield image
        except av.error.FFmpegError as error:
            problem = error.strerror or str(error)
        yield None  # before the pause, so that the current file is completed now
        if Path(settings.address).is_file():
            if problem != "the stream has ended":
                logger.warning("%s cannot be read to its end: %s", settings.address, problem)
            return
        failures = failures + 1 if is_empty else 0
        if failures > settings.retries:
            raise ValueError(
                f"{settings.address} yielded no picture {failures} times in a row ({problem}); check the address"
            )
        logger.warning("%s: %s; trying again in %g s", settings.address, problem, settings.pause_seconds)
        sleep(settings.pause_seconds)


def _pictures_of_connection(settings: Capture) -> Generator[np.ndarray | None]:
    longest_gap = max(LONGEST_GAP_SECONDS, 2 / settings.frame_rate)
    begin, last, num_taken = 0.0, float("nan"), 0
    with av.open(settings.address, timeout=settings.timeout_seconds) as container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise ValueError(f"{settings.address} contains no video")
        stream.codec_context.thread_type = "SLICE"  # frame threads can hang when left early (PyAV #1849)
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:  # the connection began between two keyframes, or a packet was lost
                continue
            for frame in frames:
                if frame.time is None or frame.is_corrupt:
                    continue
                if not 0 <= frame.time - last <= longest_gap:
                    if last == last:  # not the first frame
                        yield None
                    begin, num_taken = frame.time, 0
                last = frame.time
                num_due = int((last - begin) * settings.frame_rate + CLOCK_TOLERANCE) + 1
                if num_due > num_taken:
                    num_taken = num_due
                    yield frame.to_ndarray(format="rgb24")


def _next_file(settings: Capture) -> Path:
    numbers = [
        int(found[1])
        for path in settings.folder.glob(f"{glob.escape(settings.name)}_*.mp4")
        if (found := re.fullmatch(rf"{re.escape(settings.name)}_(\d+)_.*", path.stem))
    ]
    return settings.folder / f"{settings.name}_{max(numbers, default=0) + 1:04d}_{datetime.now(UTC):%Y%m%d-%H%M%S}.mp4"
