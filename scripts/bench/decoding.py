"""Sparse decoding compared with the limit of the file and, where installed, OpenCV, decord2, torchcodec.

The limit is PyAV alone: it decodes the groups of pictures that hold a wanted frame, each up to the last one, with the
best of FFmpeg's thread settings.
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from bench import dataset
from odkd.data.video.decode import decode_frames
from odkd.data.video.decoder import groups_of
from odkd.data.video.encode import VideoWriter
from odkd.data.video.index import VideoIndex, index_video

SIZE, NUM_FRAMES, STRIDE, ROUNDS = (720, 1280), 600, 75, 3
GROUPS = (25, 250)  # keyframe interval at most; x264 begins a group earlier where the scene changes
THREADS = (("SLICE", 1), ("SLICE", 2), ("FRAME", 2))
Way = Callable[[VideoIndex, np.ndarray], list[np.ndarray]]


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per length of the groups; milliseconds are those per wanted frame. All ways take turns."""
    rows: list[dict[str, object]] = []
    for group in GROUPS:
        index = index_video(make_video(folder, group), folder)
        numbers = np.arange(min(index.num_frames, NUM_FRAMES) // STRIDE) * STRIDE
        ways = {"odkd": ours} | {f"pyav {kind.lower()} {count}": bare(kind, count) for kind, count in THREADS}
        ways |= {name: way for name, (module, way) in OTHERS.items() if importlib.util.find_spec(module)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        equal: dict[str, int] = {}
        expected = ours(index, numbers)
        for _ in range(ROUNDS):
            for name, way in list(ways.items()):
                began = time.perf_counter()
                try:
                    images = way(index, numbers)
                except (RuntimeError, ImportError):  # torchcodec without FFmpeg's shared libraries
                    del ways[name], seconds[name]
                    continue
                seconds[name].append(time.perf_counter() - began)
                equal[name] = sum(map(np.array_equal, images, expected))
        cost = {name: 1000 * median(taken) / len(numbers) for name, taken in seconds.items()}
        limit = min(cost[name] for name in cost if name.startswith("pyav"))
        found: dict[str, object] = {"groups": group, "stride": STRIDE, "frames": len(numbers), "odkd_ms": cost["odkd"]}
        found |= {"limit_ms": limit, "share_of_limit": limit / cost["odkd"]}
        for name in OTHERS:
            found |= {f"{name}_ms": cost.get(name, "-"), f"{name}_equal": equal.get(name, "-")}
        rows.append(found)
    return rows


def make_video(folder: Path, group: int) -> Path:
    """Return a video with keyframes at most `group` frames apart, rendered on first use."""
    path = folder / f"decoding-{group}.mp4"
    if not path.is_file():
        (height, width), rate = SIZE, dataset.FRAME_RATE
        with VideoWriter(path, width=width, height=height, frame_rate=rate, crf=23, keyframe_interval=group) as writer:
            for image_HWC, _ in dataset._pictures(height, width, NUM_FRAMES):
                writer.write(image_HWC)
    return path


def ours(index: VideoIndex, numbers: np.ndarray) -> list[np.ndarray]:
    """Decode as odkd does."""
    return [image for _, image in decode_frames(index, numbers) if image is not None]


def bare(kind: Any, num_threads: int) -> Way:
    """Return a decoder by PyAV alone, with FFmpeg's threads of this kind."""

    def decode(index: VideoIndex, numbers: np.ndarray) -> list[np.ndarray]:
        groups, images = groups_of(index, numbers), []
        with av.open(str(index.path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type, stream.codec_context.thread_count = kind, num_threads
            for group in np.unique(groups):
                wanted = set(index.pts[numbers[groups == group]].tolist())
                container.seek(int(index.pts[index.keyframes[group]]), stream=stream)
                for picture in container.decode(stream):
                    if picture.pts in wanted:
                        images.append(picture.to_ndarray(format="rgb24"))
                    if picture.pts is not None and picture.pts >= max(wanted):
                        break
        return images

    return decode


def by_opencv(index: VideoIndex, numbers: np.ndarray) -> list[np.ndarray]:
    """Seek each frame by its number."""
    import cv2

    video, images = cv2.VideoCapture(str(index.path)), []
    for number in numbers.tolist():
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        images.append(cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB))
    return images


def by_decord(index: VideoIndex, numbers: np.ndarray) -> list[np.ndarray]:
    """Read one batch, with decord's own number of threads."""
    import decord

    return list(decord.VideoReader(str(index.path), ctx=decord.cpu(0)).get_batch(numbers.tolist()).asnumpy())


def by_torchcodec(index: VideoIndex, numbers: np.ndarray) -> list[np.ndarray]:
    """Read one batch by frame number, with two threads, the fastest here."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(index.path), dimension_order="NHWC", num_ffmpeg_threads=2)
    return list(decoder.get_frames_at(numbers.tolist()).data.numpy())


OTHERS: dict[str, tuple[str, Way]] = {
    "opencv": ("cv2", by_opencv),
    "decord2": ("decord", by_decord),
    "torchcodec": ("torchcodec", by_torchcodec),
}
