"""Labelling compared with its slowest step: wall time over max(decode alone, teacher alone, write alone).

Three teachers: a real network on the CPU, where decoder and network share the cores; a stand-in for a network on an
accelerator, which leaves the CPU idle and takes as long as decoding a frame (the hardest case: two equally slow
steps); and a stand-in ten times as fast, where decoding is the slowest step. The decoder has one core, as on machines
with idle cores; or both of two cores, where all other work slows it down.
"""

import itertools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.dataset import CLASSES, make_video
from bench.job import SMALL
from bench.labels import SHARED
from odkd.common.device import keep_freed_memory
from odkd.data.labels.own_classes import OwnClasses
from odkd.data.labels.store import Labelled
from odkd.data.labels.teacher_labels import TeacherLabels, TeacherName
from odkd.data.video.decode import decode_frames
from odkd.data.video.stream import Stream, open_stream
from odkd.teachers import SampledFrames, Teacher
from odkd.teachers.checkpoint import CheckpointTeacher
from odkd.teachers.labeller import FLUSH_FRAMES, Labeller

CASE = Case(
    question="What does labelling cost beyond its slowest step?",
    method="Decoding, the teacher on frames in memory, and writing are timed alone, and then `Labeller` with all steps "
    "at once, in turn. Baseline and limit is the slowest step of the round. The teachers: a stand-in for an "
    "accelerator that only waits, as slow as the decoder or 10 times as fast, with one core for the decoder or both; "
    "and the CamVid network on the CPU, where its data are.",
    repeats=3,
    seconds=75,
)
ROUNDS, BATCH = 3, 4
STRIDE = 4
NUM_OF_NETWORK = 48  # frames labelled by the real network


class StandIn:
    """A network on an accelerator, as seen from the CPU: a delay, then label maps."""

    num_classes, classes, needs_images = CLASSES, None, True

    def __init__(self, seconds: float, maps: Sequence[np.ndarray]) -> None:
        self.seconds, self.maps_BHW = seconds, np.stack(maps[:BATCH])

    def label(self, frames: SampledFrames) -> np.ndarray:
        time.sleep(self.seconds * len(frames.frame_numbers))
        return self.maps_BHW[: len(frames.frame_numbers)]


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return one result per teacher, at 1280x720; the real network labels CamVid at the size of its videos."""
    keep_freed_memory()  # as `odkd` does at startup
    size, rounds = (SMALL, 1) if quick else ((720, 1280), ROUNDS)
    root = make_video(folder, size)
    stream = open_stream(root / "videos", stride=STRIDE, domains={}, cache=folder)
    maps = [np.asarray(Image.open(path)) for path in sorted((root / "groundtruth" / "pan").glob("*.png"))[:BATCH]]
    results = []
    for threads, cores in ((1, "decoder on one core"), (2, "decoder on both cores")):
        seconds = median(_decode(stream, threads) for _ in range(2)) / len(stream)
        for speed, name in ((1, "as slow as the decoder"), (10, "10 times as fast")):
            teacher = StandIn(seconds / speed, maps)
            results.append(_result(f"stand-in, {name}, {cores}", stream, teacher, folder, threads, rounds))
    if (SHARED / "camvid" / "videos").is_dir() and not quick:
        checkpoint = SHARED / "teachers" / "camvid_fpn_efficientnet_lite2.pth"
        real = open_stream(SHARED / "camvid" / "videos", stride=1, stop=1, domains={}, cache=folder)
        real = real.without([(0, int(frame)) for frame in real.frame_of[NUM_OF_NETWORK:]])
        network = CheckpointTeacher(str(checkpoint), device=torch.device("cpu"))
        results.append(_result("FPN EfficientNet-Lite2 on the CPU", real, network, folder, 2, rounds))
    return results


def _result(name: str, stream: Stream, teacher: Teacher, folder: Path, threads: int, rounds: int) -> Result:
    index, numbers = stream.videos[0], [int(n) for n in stream.frame_of]
    images = [image for _, image in decode_frames(index, numbers) if image is not None]
    batches = [np.stack(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    maps = _labels(teacher, batches)  # also warms up
    number = itertools.count()
    seconds = in_turn(
        {
            "decode": lambda: _decode(stream, threads),
            "teacher": lambda: _labels(teacher, batches),
            "write": lambda: _write(stream, maps, folder / "pipeline-write"),
            "all": lambda: _label(stream, teacher, folder / "pipeline", next(number), threads),
        },
        rounds,
        warm_up=False,
    )
    walls = seconds.pop("all")
    slowest = max(seconds, key=lambda step: median(seconds[step]))
    return measured(
        name,
        walls,
        "ms a frame",
        size=size_name((index.height, index.width)),
        scale=1000 / len(stream),
        baseline=(f"{slowest} alone", seconds[slowest]),
        headline=True,
    )


def _decode(stream: Stream, threads: int) -> float:
    began = time.perf_counter()
    for _ in decode_frames(stream.videos[0], [int(n) for n in stream.frame_of], num_threads=threads):
        pass
    return time.perf_counter() - began


def _labels(teacher: Teacher, batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        label_HW
        for images_BHWC in batches
        for label_HW in teacher.label(SampledFrames("", range(len(images_BHWC)), images_BHWC, None))
    ]


def _write(stream: Stream, maps: list[np.ndarray], folder: Path) -> None:
    """Write label maps as the labeller does, including the resize to the video's size."""
    from odkd.data.labels import resize_nearest

    shutil.rmtree(folder, ignore_errors=True)
    labels = TeacherLabels(stream, stream, TeacherName("bench", {}, None), folder)
    video = labels.videos[0]
    store = labels.create(video, OwnClasses())
    for start in range(0, len(maps), FLUSH_FRAMES):
        stop = min(start + FLUSH_FRAMES, len(maps))
        store.write(start // 64, {n: Labelled(resize_nearest(maps[n], store.size)) for n in range(start, stop)})
        store.write_session("bench", {"frames": list(range(stop))})


def _ignore(done: int, total: int) -> None:
    """Ignore progress reports."""


def _label(stream: Stream, teacher: Teacher, folder: Path, number: int, threads: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    labels = TeacherLabels(stream, stream, TeacherName("bench", {"round": number}, None), folder)
    Labeller(labels, teacher, batch_size=BATCH, groundtruth=None, progress=_ignore, decoder_threads=threads).run()
