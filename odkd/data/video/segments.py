"""A long video encoded in segments, so that a killed process loses one of them, and joined to one file at the end.

A segment is encoded by an encoder of its own, with the times of its source, so that its bytes depend on its pictures
alone. It has no B-frames: packets are in the order of their pictures, and segments follow one another as they are.
"""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from odkd.data.video.container import open_container
from odkd.data.video.encode import NUM_THREADS, check_sides, open_encoder, to_yuv

logger = logging.getLogger(__name__)
AUDIO_OF_MP4 = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})


class SegmentWriter:
    """A writer of one segment, as a context manager; the file has its name when it is complete.

    Args:
        path: of the segment.
        height, width: of the pictures.
        frame_rate: on average, for the encoder's budget.
        time_base: seconds per tick.
        crf: H.264 quality (constant rate factor; lower is better).
    """

    def __init__(
        self, path: Path, *, height: int, width: int, frame_rate: Fraction, time_base: Fraction, crf: int
    ) -> None:
        check_sides(height, width)
        self._path, self._partial = path, path.with_name(path.name + ".part")
        self._container = av.open(str(self._partial), "w", format="nut")
        self._stream = open_encoder(self._container, height=height, width=width, rate=frame_rate, crf=crf)
        context = self._stream.codec_context
        context.max_b_frames, context.time_base, context.thread_count = 0, time_base, NUM_THREADS
        self._time_base = time_base

    def write(self, image_HWC: np.ndarray, pts: int) -> None:
        """Append one picture, uint8 RGB, shown from tick `pts` on."""
        frame = to_yuv(image_HWC)
        frame.pts, frame.time_base = pts, self._time_base
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def join(segments: Sequence[Path], path: Path, *, audio: Path | None, begin_seconds: float = 0.0) -> None:
    """Join segments to one mp4, with the sound of `audio` from `begin_seconds` on; the path exists when it is complete.

    Sound that an mp4 cannot hold is left out with a warning.
    """
    partial = path.with_name(path.name + ".part")
    with (
        open_container(segments[0]) as first,
        av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as joined,
    ):
        stream = joined.add_stream_from_template(first.streams.video[0])
        packets = _packets(segments)
        if audio is None:
            for packet in packets:
                packet.stream = stream
                joined.mux(packet)
        else:
            _join_with_sound(joined, stream, packets, audio, begin_seconds)
    partial.replace(path)


def _packets(segments: Sequence[Path]) -> Iterator[av.Packet[av.VideoStream]]:
    for segment in segments:
        with open_container(segment) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    packet.dts = packet.pts
                    yield packet


def _join_with_sound(
    joined: av.container.OutputContainer,
    stream: av.VideoStream,
    packets: Iterator[av.Packet[av.VideoStream]],
    audio: Path,
    begin_seconds: float,
) -> None:
    with open_container(audio) as source:
        sounds = [sound for sound in source.streams.audio if sound.codec_context.name in AUDIO_OF_MP4]
        if len(sounds) < len(source.streams.audio):
            others = {sound.codec_context.name for sound in source.streams.audio} - AUDIO_OF_MP4
            logger.warning("%s: an mp4 cannot hold its sound (%s), which is left out", audio, ", ".join(sorted(others)))
        copies = {sound.index: joined.add_stream_from_template(sound) for sound in sounds}
        heard: Iterator[av.Packet[Any]] = iter(source.demux(*sounds)) if sounds else iter(())
        sound, now = next(heard, None), 0.0
        for packet in packets:
            assert packet.pts is not None
            now = float(packet.pts * packet.time_base)
            while sound is not None and _seconds(sound) - begin_seconds <= now:
                _copy(joined, sound, copies, begin_seconds)
                sound = next(heard, None)
            packet.stream = stream
            joined.mux(packet)
        last = now + 1 if copies else 0.0
        while sound is not None and _seconds(sound) - begin_seconds <= last:
            _copy(joined, sound, copies, begin_seconds)
            sound = next(heard, None)


def _seconds(packet: av.Packet[av.AudioStream]) -> float:
    return float(packet.pts * packet.time_base) if packet.pts is not None else 0.0


def _copy(
    joined: av.container.OutputContainer,
    packet: av.Packet[av.AudioStream],
    copies: dict[int, av.AudioStream],
    begin_seconds: float,
) -> None:
    """Copy a packet of sound, unless it begins before the picture."""
    if packet.pts is None or packet.dts is None or not packet.size:
        return
    shift = round(begin_seconds / packet.time_base)
    if packet.pts < shift:
        return
    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
    packet.stream = copies[packet.stream.index]
    joined.mux(packet)
