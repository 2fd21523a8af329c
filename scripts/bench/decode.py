"""Decoding the sampled frames of a video, against other libraries and against the least that the file allows."""

from pathlib import Path
from statistics import median

import numpy as np

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.dataset import make_video
from bench.job import SMALL
from bench.rival_decoders import check_same, needed_groups, working
from odkd.data.video.decode import decode_frames
from odkd.data.video.index import VideoIndex, index_video

CASE = Case(
    question="What does a sampled frame cost to decode, and how near is that to the least the file allows?",
    method="`decode_frames` to RGB at the size of the video, in turn with bare PyAV from the start of the file, OpenCV "
    "(grab all, retrieve the wanted), and torchcodec and decord2 where they are installed; all must return the same "
    "frames. The baseline is the fastest of the others. The limit is bare PyAV decoding each group of pictures that "
    "holds a sampled frame up to the last one, without conversion to RGB.",
    repeats=3,
    seconds=75,
)
ROUNDS = 3
# size, frames in use, stride, frames in a group of pictures
VIDEOS = (
    ((720, 1280), 500, 75, 250),
    ((720, 1280), 500, 75, 25),
    ((720, 1280), 160, 8, 250),
    ((720, 1280), 80, 8, 25),
    ((360, 480), 400, 25, 250),
    ((1080, 1920), 125, 25, 250),
    ((2160, 3840), 24, 12, 250),
)
QUICK = ((SMALL, 100, 30, 25),)


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the time of a sampled frame by video, for odkd and for each other way."""
    results = []
    for size, num_frames, stride, group in QUICK if quick else VIDEOS:
        index = index_video(make_video(folder, size, group=group) / "videos" / "pan.mp4", folder)
        numbers = list(range(0, num_frames, stride))
        results += measure_video(index, numbers, size, f"stride {stride}, groups of {group}", 1 if quick else ROUNDS)
    return results


def measure_video(index: VideoIndex, numbers: list[int], size: tuple[int, int], name: str, rounds: int) -> list[Result]:
    """Return odkd's result, against the fastest of the others, and those of the others."""

    def ours() -> list[np.ndarray]:
        return [image for _, image in decode_frames(index, numbers) if image is not None]

    others, images = working(index), ours()
    for other, decode in others.items():
        check_same(other, decode(index, numbers), images, index.path)
    seconds = in_turn(
        {
            "odkd": ours,
            "limit": lambda: needed_groups(index, numbers, with_images=False),
            **{other: lambda decode=decode: decode(index, numbers) for other, decode in others.items()},  # type: ignore[misc]
        },
        rounds,
        warm_up=False,
    )
    fastest = min(others, key=lambda other: median(seconds[other]))
    scale, of_size = 1000 / len(numbers), size_name(size)
    first = measured(
        name,
        seconds["odkd"],
        "ms a frame",
        size=of_size,
        scale=scale,
        baseline=(fastest, seconds[fastest]),
        limit=("needed groups alone", seconds["limit"]),
        headline=True,
    )
    rest = [measured(f"{name}, {other}", seconds[other], "ms a frame", size=of_size, scale=scale) for other in others]
    return [first, *rest]
