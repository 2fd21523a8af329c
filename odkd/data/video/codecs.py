"""What this build of PyAV can read and write, and a try of both."""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import numpy as np

from odkd.data.video.decode import decode_frames
from odkd.data.video.encode import VideoWriter
from odkd.data.video.index import index_video

READ = ("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg", "prores", "ffv1")
WRITTEN = "libx264"  # of overlay videos
CLOSE = 6.0  # grey levels, on average; more is no loss of compression
SHADES = (40, 120, 200)


def libraries() -> dict[str, str]:
    """Return the releases of PyAV and of FFmpeg's libraries in it."""
    found = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return {"av": av.__version__, **found}


def readable() -> list[str]:
    """Return which of the usual codecs can be read."""
    return [name for name in READ if name in av.codecs_available]


def can_write() -> bool:
    """Return True if videos can be written."""
    return WRITTEN in av.codecs_available


def try_video() -> None:
    """Write a short video and read it back, as a run does.

    Raises:
        ValueError: what comes back is something else; OSError and errors of PyAV: it cannot be written or read.
    """
    with tempfile.TemporaryDirectory(prefix="odkd-video-") as folder:
        path = Path(folder) / "try.mp4"
        with VideoWriter(path, width=64, height=48, frame_rate=5.0) as video:
            for shade in SHADES:
                video.write(np.full((48, 64, 3), shade, np.uint8))
        index = index_video(path, Path(folder))
        images = [image for _, image in decode_frames(index, range(len(SHADES))) if image is not None]
        if len(images) != len(SHADES):
            raise ValueError(f"of {len(SHADES)} frames written, {len(images)} came back")
        for shade, image_HWC in zip(SHADES, images, strict=True):
            if abs(float(image_HWC.mean()) - shade) > CLOSE:
                raise ValueError(f"a grey of {shade} came back as {image_HWC.mean():.0f}: this build decodes wrongly")
