"""Small video files for tests, and a slow, obvious way to decode them."""

import contextlib
import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

FRAME_RATE = 25


def picture(number: int, height: int, width: int) -> np.ndarray:
    """Return a textured scene that moves sideways, with the frame number as a row of black and white squares."""
    noise = np.random.default_rng(7).integers(0, 256, (height // 4 + 1, (width + 1200) // 4, 3), dtype=np.uint8)
    scene = noise.repeat(4, axis=0).repeat(4, axis=1)[:height, 3 * number : 3 * number + width].copy()
    for bit in range(8):
        scene[:8, 8 * bit : 8 * bit + 8] = 255 * (number >> bit & 1)
    return scene


MATRICES = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}  # rotation -> a, b, c, d


def write_video(
    path: Path,
    *,
    num_frames: int = 40,
    height: int = 64,
    width: int = 96,
    codec: str = "libx264",
    group: int = 10,
    times: list[int] | None = None,
    ticks: int = FRAME_RATE,
    rotation: int = 0,
    matrix: tuple[int, int, int, int] | None = None,
    pixel_aspect: Fraction = Fraction(1),
    container_options: dict[str, str] | None = None,
    **options: str | int,
) -> Path:
    """Encode `picture(0..)`; frame i is shown at times[i] / ticks seconds, by default at i / 25.

    `rotation` or a, b, c, d of a display `matrix` is written into an MP4 file's header.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with same_priority(), av.open(str(path), "w", options=container_options or {}) as container:
        chosen = {"g": str(group), **{name: str(value) for name, value in options.items()}}
        stream = container.add_stream(codec, rate=FRAME_RATE, options=chosen)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width, height
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        is_odd = width % 2 or height % 2
        stream.pix_fmt = "yuv444p" if is_odd else "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, ticks)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if rotation or matrix:
        _write_display_matrix(path, matrix or MATRICES[rotation])
    return path


@contextlib.contextmanager
def same_priority() -> Iterator[None]:
    """Give this thread its scheduling back at the end: SVT-AV1's encoder leaves root's thread with real-time priority.

    A process that keeps it takes a core from everything else that runs on the machine.
    """
    if not hasattr(os, "sched_getscheduler"):  # only Linux has real-time threads of this kind
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _write_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set a, b, c, d of the display matrix in an MP4 file's track header, as phones do (PyAV sets it only since 18)."""
    content = path.read_bytes()
    header = content.index(b"tkhd") + 4
    offset = header + (40 if content[header] == 0 else 52)  # version 1 has 64-bit times
    a, b, c, d = (value << 16 for value in matrix)
    overwrite(path, offset, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))


def decode_naively(path: Path) -> dict[int, np.ndarray]:
    """Return every frame of the file by timestamp, decoded from start to end."""
    with av.open(str(path)) as container:
        return {int(frame.pts or 0): frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)}


def packet_places(path: Path) -> list[tuple[int, int, int]]:
    """Return (pts, byte offset in the file, size) of each packet, in decoding order."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        return [(int(packet.pts or 0), int(packet.pos or 0), packet.size) for packet in packets]


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
