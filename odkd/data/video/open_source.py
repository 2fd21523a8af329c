"""The live source of a run, by its name."""

from __future__ import annotations

from pathlib import Path

from odkd.data.video.arrivals import LiveSource
from odkd.data.video.camera import Camera
from odkd.data.video.growing import Growing
from odkd.data.video.playing import Playing
from odkd.data.video.stream import Stream


def open_source(
    name: str | None, stream: Stream, *, size: tuple[int, int], stride: int, repeats: int, patience: float
) -> LiveSource:
    """Return a source of frames at their real speed.

    Args:
        name: None = the videos of the stream; else a folder of images, a file, /dev/videoN, or an address.
        size: (height, width) of the student.
        stride: frames from one sampled frame to the next.
        repeats: how often the stream, or a file, is played.
        patience: seconds for which a source that is lost is tried again.

    Raises:
        ValueError: it cannot be opened.
    """
    if name is None:
        return Playing(stream, size=size, repeats=repeats)
    if Path(name).is_dir():
        return Growing(Path(name), size=size, stride=stride, patience=patience)
    return Camera(name, size=size, stride=stride, repeats=repeats, patience=patience)
