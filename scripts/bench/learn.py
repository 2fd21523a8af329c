"""The learning step: `Learner.learn` on resident frames, against the bare network and against a plain float32 loop."""

from pathlib import Path

from bench.core.case import Case
from bench.core.result import Result
from bench.core.timing import Timed
from bench.job import PRECISIONS, SMALL
from bench.steps import Steps, against_networks

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
    results, rounds = [], 2 if quick else ROUNDS
    for size, num_frames in ({SMALL: 2} if quick else FRAMES).items():
        for name in PRECISIONS:
            found, _ = against_networks(
                folder, size, num_frames, functions_of, precision=name, rounds=rounds, with_backward=True
            )
            results += found
    return results


def functions_of(steps: Steps) -> dict[str, Timed]:
    """Return the three ways to learn from the frames."""
    learner, batches = steps.parts.learner, [[position] for position in steps.positions]
    return {
        "odkd": lambda: learner.learn(steps.parts.bank, batches),
        "bare network": lambda: steps.bare.learn(steps.examples),
        "plain float32 loop": lambda: steps.plain.learn(steps.plain_examples),
    }
