"""Milliseconds per frame outside the network: odkd compared with the plain baseline, on the same video and window."""

import copy
import time
from pathlib import Path

import numpy as np
from plain_baseline import Sample, distil

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.dataset import make_video
from bench.job import ONLY_TEST_WINDOWS, REFERENCE, SMALL, call_online, make_parts, overrides
from bench.network import network_clock
from odkd.config.parts import Parts

CASE = Case(
    question="What does odkd save against a typical plain loop?",
    method="`scripts/plain_baseline.py` and odkd run on the same video, labels, window and initial weights, in "
    "float32. The time of forward, cross-entropy, backward and optimizer is subtracted from the wall time. For odkd, "
    "frames are already decoded and labelled; for the plain loop, they are already labelled: each is done once per "
    "video, not once per run. The mIoUs of the two loops must agree to 1e-9.",
    repeats=1,
    seconds=75,
)
SIZE, STRIDE, LEARN, TEST = (720, 1280), 76, 4, 2  # 10 positions, 5 iterations: trained on 0, 2, 4, 4, 4 frames


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the time outside the network and the whole, against those of the plain loop."""
    size = SMALL if quick else SIZE
    stride = 20 if quick else STRIDE
    job = [*overrides(folder, make_video(folder, size), size=size, stride=stride, learn=LEARN, test=TEST)]
    job += [*ONLY_TEST_WINDOWS, *REFERENCE, "student.dropout=0"]
    parts = make_parts(job)
    plain_student, samples = copy.deepcopy(parts.learner.student), write_samples(parts, folder / "labels")

    with network_clock(parts.learner.student) as ours:
        started = time.perf_counter()
        run = call_online(parts, folder / "run")
        our_seconds = time.perf_counter() - started
    our_mious = [record["metrics"]["test/miou"] for record in run.records()]

    with network_clock(plain_student) as plain:
        started = time.perf_counter()
        results = list(
            distil(
                plain_student,
                samples,
                num_classes=len(parts.classes),
                learn=LEARN,
                test_frames=TEST,
                step=TEST,
            )
        )
        plain_seconds = time.perf_counter() - started
    difference = max(abs(a - b.miou) for a, b in zip(our_mious, results, strict=True))
    if difference > 1e-9:
        raise RuntimeError(f"the mIoUs of odkd and of the plain loop differ by {difference:.3g}; expected at most 1e-9")
    assert ours.forwards == plain.forwards
    outside = [(wall - clock.seconds) / ours.forwards for clock, wall in ((ours, our_seconds), (plain, plain_seconds))]
    shares = [our_seconds / ours.seconds, plain_seconds / plain.seconds]
    name, frames = size_name(size), f"{ours.forwards} frames"
    rows = (("outside the network", outside, "ms a frame", 1000.0), ("wall over network", shares, "times", 1.0))
    return [
        measured(
            f"{quantity}, {frames}",
            [our_value],
            unit,
            size=name,
            scale=scale,
            baseline=("plain loop", [plain_value]),
            headline=quantity.startswith("outside"),
        )
        for quantity, (our_value, plain_value), unit, scale in rows
    ]


def write_samples(parts: Parts, folder: Path) -> list[Sample]:
    """Write the teacher's labels as the plain loop expects them: one .npz file per frame."""
    folder.mkdir(parents=True, exist_ok=True)
    parts.label_stream()
    samples = []
    for position in range(len(parts.stream)):
        video = parts.stream.videos[int(parts.stream.video_of[position])]
        label = folder / f"{position:06d}.npz"
        np.savez_compressed(label, seg=parts.labels.read(position))
        samples.append(Sample(video.path, int(parts.stream.frame_of[position]), label))
    return samples
