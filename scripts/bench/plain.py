"""Milliseconds per frame outside the network: odkd compared with the plain baseline, on the same video and window."""

import copy
import time
from pathlib import Path

import numpy as np
from plain_baseline import Sample, distil

from bench.dataset import make_dataset
from bench.job import ONLY_TEST_WINDOWS, call_online, make_parts, overrides
from bench.network import network_clock
from odkd.config.parts import Parts

SIZE, STRIDE, LEARN, TEST = (720, 1280), 75, 6, 3
NUM_POSITIONS = 15  # 5 iterations: trained on 0, 3, 6, 6, 6 frames


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per loop; `miou_difference` is the largest difference between their scores, which must agree."""
    root = make_dataset(folder, height=SIZE[0], width=SIZE[1], num_frames=NUM_POSITIONS * STRIDE, stride=STRIDE)
    job = [*overrides(folder, root, size=SIZE, stride=STRIDE, learn=LEARN, test=TEST)]
    job += [*ONLY_TEST_WINDOWS, "student.dropout=0"]
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

    rows: list[dict[str, object]] = []
    for name, clock, seconds in (("odkd", ours, our_seconds), ("plain", plain, plain_seconds)):
        rows.append(
            {
                "loop": name,
                "frames": clock.forwards,
                "network_ms": 1000 * clock.seconds / clock.forwards,
                "outside_ms": 1000 * (seconds - clock.seconds) / clock.forwards,
                "wall_over_network": seconds / clock.seconds,
                "miou_difference": difference,
            }
        )
    return rows


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
