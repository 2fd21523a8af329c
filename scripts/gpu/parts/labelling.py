"""A teacher as large as SegFormer-B5 labels a video: wall time over the slower of decoding and the network, GPU busy.

The share of time that the GPU is busy is what its kernels and copies cover of the time, from torch's profiler.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from torch.profiler import ProfilerActivity, profile

from gpu.loop import Case, settings
from gpu.networks import write_teacher
from gpu.place import Place
from gpu.result import Result
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.video.decode import decode_frames
from odkd.teachers import SampledFrames

CASE, CASE_DRY = Case((720, 1280), 20, 10, 6), Case((32, 64), 4, 4, 2)
BATCH, BATCH_DRY = 4, 2
AT_MOST, AT_LEAST = (
    1.10,
    0.85,
)  # wall over the slowest step; share of time that the GPU is busy, if the network is slowest
PRECISIONS = ("float32", "bfloat16")


def measure(place: Place, result: Result) -> None:
    """Measure in each precision, first without the profiler, then with it."""
    case, batch = (CASE_DRY, BATCH_DRY) if place.is_dry else (CASE, BATCH)
    teacher = place.folder / "teacher.pth"
    write_teacher(teacher, "mit_b0" if place.is_dry else "mit_b5", num_classes=11)
    for precision in PRECISIONS[: 1 if place.is_dry else None]:
        job = [
            *settings(place, case),
            *("teacher=checkpoint", f"teacher.checkpoint={teacher}", f"teacher.batch_size={batch}"),
            f"teacher.precision={precision}",
        ]
        decode, network = _alone(place, job, batch)
        wall = _label(place, job, "plain")
        kinds = [ProfilerActivity.CPU if place.is_dry else ProfilerActivity.CUDA]
        profiler = profile(activities=kinds)
        profiled = _label(place, job, "profiled", profiler)
        found: Sequence[Any] = profiler.events() or ()  # type: ignore[no-untyped-call]
        spans = [event.time_range for event in found if event.device_type.name == ("CPU" if place.is_dry else "CUDA")]
        busy = covered([(span.start, span.end) for span in spans]) / 1e6 / profiled
        slowest = max(decode, network)
        result.row(
            "labelling",
            precision=precision,
            size=case.name,
            frames=case.num_frames,
            **{"decode s": decode, "network s": network, "wall s": wall, "wall / slowest": wall / slowest},
            **{"share busy": busy, "frames a second": case.num_frames / wall},
        )
        result.figure(f"wall time over the slowest step, {precision}", wall / slowest, at_most=AT_MOST, needs_gpu=True)
        bound = AT_LEAST if network >= decode else None
        result.figure(f"share of time that the GPU is busy, {precision}", busy, at_least=bound, needs_gpu=True)
    if place.is_dry:
        result.note("Here the share is of torch's operations on the CPU.")


def _label(place: Place, job: Sequence[str], name: str, around: AbstractContextManager[object] | None = None) -> float:
    """Label the video into an empty store, inside `around`; return the seconds; the teacher is loaded before."""
    folder = place.folder / f"labels-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    parts = Parts(compose_config([*job, f"paths.labels={folder}"]))
    _ = parts.teacher_labels, parts.teacher_parts.teacher
    place.wait()
    with around or nullcontext():
        seconds = _timed(parts.label_stream)
        place.wait()
    return seconds


def _alone(place: Place, job: Sequence[str], batch: int) -> tuple[float, float]:
    """Return the seconds of decoding alone, and of the network alone, for the whole video."""
    parts = Parts(compose_config(list(job)))
    teacher, index = parts.teacher_parts.teacher, parts.sampled.videos[0]
    numbers = [int(number) for number in parts.sampled.frame_of]
    images: list[np.ndarray] = []
    decoding = _timed(lambda: images.extend(image for _, image in decode_frames(index, numbers) if image is not None))
    batches = [np.stack(images[start : start + batch]) for start in range(0, len(images), batch)]

    def run() -> None:
        for images_BHWC in batches:
            teacher.label(SampledFrames("", list(range(len(images_BHWC))), images_BHWC, None))
        place.wait()

    teacher.label(SampledFrames("", list(range(len(batches[0]))), batches[0], None))  # warms up
    place.wait()
    network = _timed(run)
    parts.close()
    return decoding, network


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length that spans (start, end) cover together.

    >>> covered([(0, 2), (1, 3), (1, 1.5), (5, 6)])
    4
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
