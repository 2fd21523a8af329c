"""Evaluation: `Evaluator.scores` on resident frames, against the bare network and against a plain float32 loop."""

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
    question="What does the evaluation of a frame with TinyNet take?",
    method="`Evaluator.scores` (forward, arg-max, confusion matrix, steady pixels, predictions to the CPU) on resident "
    "frames at batch 1, in turn with the forward pass alone: the bare network in the same precision and memory layout, "
    "and a plain one in float32. The limit is the arithmetic, as in `learn`.",
    repeats=5,
    seconds=30,
)
ROUNDS = 5
FRAMES = {(360, 480): 4, (720, 1280): 1}


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the evaluation by size and precision, and what it takes beyond the forward pass."""
    results = []
    for size, num_frames in ({SMALL: 2} if quick else FRAMES).items():
        for name, settings in PRECISIONS.items():
            steps = make_steps(folder, size, num_frames, settings)
            evaluator, student = steps.parts.evaluator, steps.parts.learner.student
            functions = {
                "odkd": lambda: evaluator.scores(student, steps.positions),  # noqa: B023
                "bare network": lambda: steps.bare.evaluate(steps.examples),  # noqa: B023
                "plain float32 network": lambda: steps.plain.evaluate(steps.plain_examples),  # noqa: B023
            }
            if settings is REFERENCE:
                functions.pop("plain float32 network")
            seconds = in_turn(functions, 2 if quick else ROUNDS)
            dtype = PRECISIONS_OF_TORCH[steps.parts.learner.precision] or torch.float32
            arithmetic = flops_of(steps.plain.student, size, with_backward=False) / flops_per_second(dtype)
            steps.parts.close()
            ours = seconds.pop("odkd")
            beyond = [all_of_it - alone for all_of_it, alone in zip(ours, seconds["bare network"], strict=True)]
            scale = 1000 / num_frames
            results += [
                measured(
                    name if baseline == "bare network" else f"{name}, all gains together",
                    ours,
                    "ms a frame",
                    size=size_name(size),
                    scale=scale,
                    baseline=(baseline, theirs),
                    limit=("arithmetic", [arithmetic * num_frames]),
                    headline=settings is not REFERENCE,
                )
                for baseline, theirs in seconds.items()
            ]
            results.append(
                measured(f"beyond the network, {name}", beyond, "ms a frame", size=size_name(size), scale=scale)
            )
    return results
