"""Evaluation: `Evaluator.scores` on resident frames, against the bare network and against a plain float32 loop."""

from pathlib import Path

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.core.timing import Timed
from bench.job import PRECISIONS, SMALL
from bench.steps import Steps, against_networks

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
    results, rounds = [], 2 if quick else ROUNDS
    for size, num_frames in ({SMALL: 2} if quick else FRAMES).items():
        for name in PRECISIONS:
            found, seconds = against_networks(
                folder, size, num_frames, functions_of, precision=name, rounds=rounds, with_backward=False
            )
            beyond = [ours - alone for ours, alone in zip(seconds["odkd"], seconds["bare network"], strict=True)]
            results += found
            results.append(
                measured(
                    f"beyond the network, {name}", beyond, "ms a frame", size=size_name(size), scale=1000 / num_frames
                )
            )
    return results


def functions_of(steps: Steps) -> dict[str, Timed]:
    """Return the three ways to evaluate the frames."""
    evaluator, student = steps.parts.evaluator, steps.parts.learner.student
    return {
        "odkd": lambda: evaluator.scores(student, steps.positions),
        "bare network": lambda: steps.bare.evaluate(steps.examples),
        "plain float32 network": lambda: steps.plain.evaluate(steps.plain_examples),
    }
