"""The table of video formats: what odkd does with each container and codec that FFmpeg can write together."""

import contextlib
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
from video_files import write_video

from odkd.data.video.decode import decode_frames
from odkd.data.video.index import index_video

CONTAINERS = ("mp4", "mov", "m4v", "3gp", "mkv", "webm", "avi", "ts", "m2ts", "mpg", "flv", "wmv", "mxf", "ogv")
CODECS: dict[str, dict[str, Any]] = {
    "H.264": {"codec": "libx264", "bf": 2, "x264-params": "b-adapt=0"},
    "HEVC": {"codec": "libx265", "bf": 2, "x265-params": "log-level=0"},
    "AV1": {"codec": "libsvtav1", "preset": 12},
    "VP9": {"codec": "libvpx-vp9", "cpu-used": 8},
    "VP8": {"codec": "libvpx", "cpu-used": 8},
    "MPEG-4": {"codec": "mpeg4", "bf": 2},
    "MPEG-2": {"codec": "mpeg2video", "bf": 2},
    "MPEG-1": {"codec": "mpeg1video", "bf": 2},
    "MJPEG": {"codec": "mjpeg"},
    "WMV2": {"codec": "wmv2"},
    "FLV1": {"codec": "flv"},
    "FFV1": {"codec": "ffv1"},
}


def verdict(folder: Path, container: str, codec: str) -> str:
    """Return "exact" (frame k is that of a plain decode), "message" (odkd refuses) or "-" (there is no such file)."""
    path = folder / f"{codec}.{container}"
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            write_video(path, num_frames=24, group=8, **CODECS[codec])
        with av.open(str(path)) as opened:
            plain = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    except (av.error.FFmpegError, ValueError, IndexError):  # IndexError: what was written is read as data, not as video
        return "-"
    if not plain:
        return "-"
    try:
        index = index_video(path, folder)
    except ValueError:
        return "message"
    if index.num_frames != len(plain):
        return "WRONG"
    for frames in (range(len(plain)), range(3, len(plain), 9)):
        for number, image in decode_frames(index, frames):
            if image is None or not np.array_equal(image, plain[number]):
                return "WRONG"
    return "exact"


def table(folder: Path) -> str:
    """Return the table in Markdown."""
    lines = ["| | " + " | ".join(CODECS) + " |", "|---|" + "---|" * len(CODECS)]
    for container in CONTAINERS:
        verdicts = [verdict(folder, container, codec) for codec in CODECS]
        lines.append(f"| .{container} | " + " | ".join(verdicts) + " |")
    return "\n".join(lines)
