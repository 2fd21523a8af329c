"""Labelling compared with its slowest step: wall time over max(decode alone, teacher alone, write alone).

Three teachers: a real network on the CPU, where decoder and network share the cores; a stand-in for a network on an
accelerator, which leaves the CPU idle and takes as long as decoding a frame (the hardest case: two equally slow
steps); and a stand-in ten times as fast, where decoding is the slowest step. The decoder has one core, as on machines
with idle cores; or both of two cores, where all other work slows it down.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from bench.dataset import CLASSES, make_dataset
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

ROUNDS, BATCH = 5, 4
NUM_FRAMES, STRIDE = 1536, 4
NUM_OF_NETWORK = 48  # frames labelled by the real network


class StandIn:
    """A network on an accelerator, as seen from the CPU: a delay, then label maps."""

    num_classes, classes, needs_images = CLASSES, None, True

    def __init__(self, seconds: float, maps: Sequence[np.ndarray]) -> None:
        self.seconds, self.maps_BHW = seconds, np.stack(maps[:BATCH])

    def label(self, frames: SampledFrames) -> np.ndarray:
        time.sleep(self.seconds * len(frames.frame_numbers))
        return self.maps_BHW[: len(frames.frame_numbers)]


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per teacher, at 1280x720; the real network labels CamVid at the size of its videos."""
    keep_freed_memory()  # as `odkd` does at startup
    root = make_dataset(folder, height=720, width=1280, num_frames=NUM_FRAMES, stride=STRIDE)
    stream = open_stream(root / "videos", stride=STRIDE, domains={}, cache=folder)
    maps = [np.asarray(Image.open(path)) for path in sorted((root / "groundtruth" / "pan").glob("*.png"))[:BATCH]]
    rows = []
    for threads, cores in ((1, "one core"), (2, "both cores")):
        seconds = median(_decode(stream, threads) for _ in range(3)) / len(stream)
        for speed, name in ((1, "as slow as the decoder"), (10, "10 times as fast")):
            teacher = StandIn(seconds / speed, maps)
            rows.append(_row(f"stand-in, {name}", cores, stream, teacher, folder, threads))
    if (SHARED / "camvid" / "videos").is_dir():
        checkpoint = SHARED / "teachers" / "camvid_fpn_efficientnet_lite2.pth"
        real = open_stream(SHARED / "camvid" / "videos", stride=1, stop=1, domains={}, cache=folder)
        real = real.without([(0, int(frame)) for frame in real.frame_of[NUM_OF_NETWORK:]])
        network = CheckpointTeacher(str(checkpoint), device=torch.device("cpu"))
        rows.append(_row("FPN EfficientNet-Lite2, CPU", "both cores", real, network, folder, 2))
    return rows


def _row(name: str, cores: str, stream: Stream, teacher: Teacher, folder: Path, threads: int) -> dict[str, object]:
    index, numbers = stream.videos[0], [int(n) for n in stream.frame_of]
    images = [image for _, image in decode_frames(index, numbers) if image is not None]
    batches = [np.stack(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    maps = _labels(teacher, batches)  # also warms up
    alone: dict[str, list[float]] = {"decode": [], "teacher": [], "write": []}
    walls: list[float] = []
    for number in range(ROUNDS):
        alone["decode"].append(_decode(stream, threads))
        began = time.perf_counter()
        _labels(teacher, batches)
        alone["teacher"].append(time.perf_counter() - began)
        alone["write"].append(_write(stream, maps, folder / "pipeline-write"))
        walls.append(_label(stream, teacher, folder / "pipeline", number, threads))
    slowest = [max(steps) for steps in zip(*alone.values(), strict=True)]
    ratios = [wall / most for wall, most in zip(walls, slowest, strict=True)]
    per_frame = {f"{step}_ms": 1000 * median(seconds) / len(stream) for step, seconds in alone.items()}
    return {
        "teacher": name,
        "decoder on": cores,
        "size": f"{index.width}x{index.height}",
        **per_frame,
        "wall_ms": 1000 * median(walls) / len(stream),
        "wall / slowest": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "sum / slowest": median(sum(steps) / max(steps) for steps in zip(*alone.values(), strict=True)),
    }


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


def _write(stream: Stream, maps: list[np.ndarray], folder: Path) -> float:
    """Write label maps as the labeller does, including the resize to the video's size; return the seconds."""
    from odkd.data.labels import resize_nearest

    shutil.rmtree(folder, ignore_errors=True)
    labels = TeacherLabels(stream, stream, TeacherName("bench", {}, None), folder)
    video = labels.videos[0]
    began = time.perf_counter()
    store = labels.create(video, OwnClasses())
    for start in range(0, len(maps), FLUSH_FRAMES):
        stop = min(start + FLUSH_FRAMES, len(maps))
        store.write(start // 64, {n: Labelled(resize_nearest(maps[n], store.size)) for n in range(start, stop)})
        store.write_session("bench", {"frames": list(range(stop))})
    return time.perf_counter() - began


def _ignore(done: int, total: int) -> None:
    """Ignore progress reports."""


def _label(stream: Stream, teacher: Teacher, folder: Path, number: int, threads: int) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    labels = TeacherLabels(stream, stream, TeacherName("bench", {"round": number}, None), folder)
    began = time.perf_counter()
    Labeller(labels, teacher, batch_size=BATCH, groundtruth=None, progress=_ignore, decoder_threads=threads).run()
    return time.perf_counter() - began
