"""Long streams: the time of an iteration and the peak memory on 1,000 and on 100,000 sampled frames."""

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.instant_teacher import SETTINGS as INSTANT
from bench.instant_teacher import SIZE
from bench.job import FAST, ONLY_TEST_WINDOWS, overrides
from bench.memory import peak_anonymous_bytes
from bench.one_layer import SETTINGS as ONE_LAYER
from odkd.data.video.encode import VideoWriter

CASE = Case(
    question="Do the time of an iteration and memory depend on the length of the stream?",
    method="The complete `odkd` command with a one-layer student on a stream of 1,000 sampled frames and on one of "
    "100,000, in turn; frames and labels are in the cache. An iteration is the time from one line of timing.jsonl to "
    "the next, the median of the last 15; memory is the peak of `RssAnon`.",
    repeats=3,
    seconds=520,
    is_long=True,
)
ROUNDS, LENGTHS, LAST = 3, (1_000, 100_000), 15
WINDOW = "window={learn: 20, test: 20, step: 50}"


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return iteration and memory of the long stream, against those of the short one."""
    lengths, rounds = ((250, 1_000), 1) if quick else (LENGTHS, ROUNDS)
    seconds: dict[int, list[float]] = {length: [] for length in lengths}
    peaks: dict[int, list[float]] = {length: [] for length in lengths}
    for length in lengths:
        run(folder, length)  # decodes and labels
    for _ in range(rounds):
        for length in lengths:
            iteration, peak = run(folder, length)
            seconds[length].append(iteration)
            peaks[length].append(peak)
    short, long = lengths
    name, size = f"{short} frames", size_name(SIZE)
    return [
        measured(
            f"iteration of a stream of {long} frames",
            seconds[long],
            "ms",
            size=size,
            scale=1000,
            baseline=(name, seconds[short]),
            headline=True,
        ),
        measured(
            f"memory of a stream of {long} frames",
            peaks[long],
            "MiB",
            size=size,
            scale=2**-20,
            baseline=(name, peaks[short]),
            headline=True,
        ),
    ]


def run(folder: Path, num_frames: int) -> tuple[float, float]:
    """Run the job on a stream of so many frames; return the seconds of an iteration and the peak in bytes."""
    outputs = folder / "long-stream"
    shutil.rmtree(outputs / "outputs" / "runs", ignore_errors=True)
    job = overrides(outputs, make_long_video(folder, num_frames), size=SIZE, stride=1, learn=20, test=20)
    job = [word for word in job if not word.startswith(("window=", "dataset.groundtruth"))]
    job += [WINDOW, *INSTANT, *ONE_LAYER, *FAST, *ONLY_TEST_WINDOWS, "run.plots=false", "run.report=false"]
    job += ["run.overlay_video=false"]
    peak = peak_anonymous_bytes([sys.executable, "-m", "odkd", *job], search=Path(__file__).parents[1])
    (timing,) = (outputs / "outputs" / "runs").glob("*/timing.jsonl")
    times = [json.loads(line)["time"] for line in timing.read_text().splitlines()]
    return median(after - before for before, after in pairwise(times[-LAST - 1 :])), peak


def make_long_video(folder: Path, num_frames: int) -> Path:
    """Write ROOT/videos/long.mp4 of noise that moves, as cheap to make as to decode; return ROOT."""
    root = folder / f"long-{num_frames}"
    path = root / "videos" / "long.mp4"
    if not path.is_file():
        noise_HWC = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
        with VideoWriter(path, width=64, height=64, frame_rate=25, crf=40, keyframe_interval=250) as writer:
            for number in range(num_frames):
                begin = number % 64
                writer.write(noise_HWC[:, begin : begin + 64])
    return root
