"""Checksums: what verifying whatever is read and written costs, against the work that it protects."""

from functools import partial
from pathlib import Path

import numpy as np

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.job import PRECISIONS, SMALL
from bench.steps import make_steps
from odkd.data.video.frame_rows import checksum
from odkd.runs.checkpoint import Checkpoint

CASE = Case(
    question="What do checksums cost?",
    method="The CRC-32C of a frame as it is read from the frame store, and of its label map, in turn with one learning "
    "step of TinyNet on the frame: an iteration reads a frame at most once for each step. Then the SHA-256 of a "
    "checkpoint, against writing one; both happen behind the loop.",
    repeats=3,
    seconds=5,
)
ROUNDS, CALLS = 3, 20
SIZES = ((360, 480),)


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the checksums of a frame and of a checkpoint by size."""
    results, rounds = [], 2 if quick else ROUNDS
    for size in [SMALL] if quick else SIZES:
        steps = make_steps(folder, size, 1, PRECISIONS["float32"])
        image_HWC = steps.parts.frames.read([0])[0]
        label_HW = np.ascontiguousarray(steps.parts.labels.read(0))
        learner, bank = steps.parts.learner, steps.parts.bank
        checkpoint = Checkpoint(folder / "checkpoint.pt", overhead=0.01)
        content = checkpoint.packed({"learner": learner.state_dict()})
        seconds = in_turn(
            {
                "frame": partial(_check, image_HWC, label_HW),
                "a learning step": partial(learner.learn, bank, [[0]]),
                "digest": partial(checkpoint.head, content, None),
                "writing it": partial(checkpoint.write, content),
            },
            rounds,
        )
        samples = {
            "a frame and its labels": [each / CALLS for each in seconds["frame"]],
            "a checkpoint": seconds["digest"],
        }
        for quantity, baseline in zip(samples, ("a learning step", "writing it"), strict=True):
            results.append(
                measured(
                    quantity,
                    samples[quantity],
                    "ms",
                    size=size_name(size),
                    scale=1000,
                    baseline=(baseline, seconds[baseline]),
                    headline=baseline == "a learning step",
                )
            )
    return results


def _check(image_HWC: np.ndarray, label_HW: np.ndarray) -> None:
    for _ in range(CALLS):
        checksum(image_HWC)
        checksum(label_HW)
