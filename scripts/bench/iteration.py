"""Whole iterations with a one-layer student: what an iteration takes where the network takes next to nothing."""

from pathlib import Path

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.job import PRECISIONS, SMALL
from bench.loop import BARE, paced_run
from bench.one_layer import SETTINGS

CASE = Case(
    question="How many iterations a second does the machinery allow, and what does it cost a frame?",
    method="As `loop`, with a student of one 1x1 convolution. *Outside the network* is an iteration less the bare "
    "network's calls beside it, divided by its frames, learned and evaluated.",
    repeats=4,
    seconds=70,
)
PAIRS, STRIDE = 4, 8
SIZES = {(360, 480): (8, 4), (720, 1280): (4, 2), (1080, 1920): (2, 1)}


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return iterations a second and milliseconds a frame outside the network, by size and precision."""
    sizes, pairs = ({SMALL: (4, 2)}, 2) if quick else (SIZES, PAIRS)
    results = []
    for size, frames in sizes.items():
        for name, settings in PRECISIONS.items():
            window, _ = paced_run(folder, size, frames, [*settings, *SETTINGS], pairs=pairs, stride=STRIDE)
            bare = [sum(both) for both in window.bare_between()]
            loops = window.loop_seconds
            outside = [(loop - alone) / sum(frames) for loop, alone in zip(loops, bare, strict=True)]
            results += [
                measured(
                    f"iterations of {frames[0]} + {frames[1]} frames, {name}",
                    [1 / loop for loop in loops],
                    "a second",
                    size=size_name(size),
                    better="higher",
                    limit=(BARE, [1 / alone for alone in bare]),
                ),
                measured(
                    f"outside the network, {name}",
                    outside,
                    "ms a frame",
                    size=size_name(size),
                    scale=1000,
                    headline=True,
                ),
            ]
    return results
