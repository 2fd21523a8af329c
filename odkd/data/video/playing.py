"""A dataset's videos played at their real speed, as a camera would show them; none of their frames is stored."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from odkd.data.video.arrivals import Arrival, Pacer
from odkd.data.video.decoder import PairDecoder
from odkd.data.video.image_index import ImageIndex, read_images
from odkd.data.video.stream import Stream


@dataclass(frozen=True)
class Stretch:
    """Frames of one video that are played one after the other.

    Args:
        video: its number.
        frames: their numbers.
        positions: frame number -> position in the stream, of those that are sampled.
    """

    video: int
    frames: range
    positions: dict[int, int]


class Playing:
    """The source of a run without a camera.

    Args:
        stream: which videos, in which order, and which of their frames are sampled.
        size: (height, width) of the student.
        repeats: how often it is played.
    """

    def __init__(self, stream: Stream, *, size: tuple[int, int], repeats: int = 1) -> None:
        self._stream, self._size, self._repeats = stream, size, repeats
        self._closed = threading.Event()
        self.frame_size = (stream.videos[0].height, stream.videos[0].width)
        self.state = "running"

    def arrivals(self) -> Iterator[Arrival]:
        pacer, begin, number = Pacer(self._closed), 0.0, 0
        for stretch in itertools.chain.from_iterable(itertools.repeat(stretches(self._stream), self._repeats)):
            seconds = self._stream.videos[stretch.video].seconds[stretch.frames.start : stretch.frames.stop]
            for frame, pair in self._pairs(stretch):
                if not pacer.wait(begin + float(seconds[frame - stretch.frames.start] - seconds[0])):
                    return
                if pair is not None:
                    position = stretch.positions.get(frame)
                    domain = self._stream.domains[stretch.video]
                    yield Arrival(number, *pair, position is not None, position, domain)
                number += 1
            begin += float(seconds[-1] - seconds[0]) + _interval(seconds)

    def close(self) -> None:
        self._closed.set()

    def _pairs(self, stretch: Stretch) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray] | None]]:
        """Yield number and image, at both sizes, of each frame of a stretch; None where the file is damaged."""
        video, numbers = self._stream.videos[stretch.video], np.asarray(stretch.frames)
        if isinstance(video, ImageIndex):
            with closing(read_images(video, numbers, size=self._size, num_threads=1)) as images:
                yield from ((frame, None if image is None else (image, image)) for frame, image in images)
            return
        decoder = PairDecoder(video, self._size)
        try:
            yield from decoder.frames(numbers)  # type: ignore[misc]  # a pair decoder yields pairs
        finally:
            decoder.close()


def stretches(stream: Stream) -> list[Stretch]:
    """Return what is played, in order: frames between two sampled ones too, and nothing that the order leaves out."""
    gaps = [_gap(stream.frames_of_video(number)) for number in range(len(stream.videos))]
    found: list[Stretch] = []
    run: dict[int, int] = {}

    def end(video: int) -> None:
        first, last = min(run), max(run)
        stop = min(last + gaps[video], stream.videos[video].num_frames)
        found.append(Stretch(video, range(first, stop), dict(run)))
        run.clear()

    before: tuple[int, int] | None = None
    for position, (video, frame) in enumerate(zip(stream.video_of.tolist(), stream.frame_of.tolist(), strict=True)):
        goes_on = before is not None and before[0] == video and 0 < frame - before[1] <= 2 * gaps[video]
        if before is not None and not goes_on:
            end(before[0])
        run[frame] = position
        before = (video, frame)
    if before is not None:
        end(before[0])
    return found


def _gap(frames_N: np.ndarray) -> int:
    """Return the usual number of frames from one sampled frame to the next."""
    return max(1, int(np.median(np.diff(np.sort(frames_N))))) if len(frames_N) > 1 else 1


def _interval(seconds_N: np.ndarray) -> float:
    """Return the usual time from one frame to the next; a second for a single one."""
    return float(np.median(np.diff(seconds_N))) if len(seconds_N) > 1 else 1.0
