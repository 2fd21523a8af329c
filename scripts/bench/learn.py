"""The learning step: `Learner.learn` on resident frames, against the bare network and against a plain float32 loop."""

from pathlib import Path

import torch

from bench.core.case import Case
from bench.core.limits import flops_per_second
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.job import PRECISIONS, REFERENCE, SMALL
from bench.steps import flops_of, make_steps
from odkd.common.device import PRECISIONS as PRECISIONS_OF_TORCH

CASE = Case(
    question="What does a learning step of TinyNet take?",
    method="`Learner.learn` on resident frames at batch 1, in turn with two loops of the same calls (forward, "
    "cross-entropy, backward, Adam) on tensors in memory: the bare network, which computes in the same precision and "
    "memory layout, and a plain loop in float32. The limit is the network's arithmetic at the speed of a product of "
    "large matrices in the same precision.",
    repeats=5,
    seconds=70,
)
ROUNDS = 5
FRAMES = {(360, 480): 3, (720, 1280): 1}


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the learning step by size and precision."""
    results = []
    for size, num_frames in ({SMALL: 2} if quick else FRAMES).items():
        for name, settings in PRECISIONS.items():
            steps = make_steps(folder, size, num_frames, settings)
            learner, batches = steps.parts.learner, [[position] for position in steps.positions]
            functions = {
                "odkd": lambda: learner.learn(steps.parts.bank, batches),  # noqa: B023
                "bare network": lambda: steps.bare.learn(steps.examples),  # noqa: B023
                "plain float32 loop": lambda: steps.plain.learn(steps.plain_examples),  # noqa: B023
            }
            if settings is REFERENCE:
                functions.pop("plain float32 loop")
            seconds = in_turn(functions, 2 if quick else ROUNDS)
            dtype = PRECISIONS_OF_TORCH[steps.parts.learner.precision] or torch.float32
            arithmetic = flops_of(steps.plain.student, size, with_backward=True) / flops_per_second(dtype)
            steps.parts.close()
            ours = seconds.pop("odkd")
            results += [
                measured(
                    name if baseline == "bare network" else f"{name}, all gains together",
                    ours,
                    "ms a frame",
                    size=size_name(size),
                    scale=1000 / num_frames,
                    baseline=(baseline, theirs),
                    limit=("arithmetic", [arithmetic * num_frames]),
                    headline=settings is not REFERENCE,
                )
                for baseline, theirs in seconds.items()
            ]
    return results
