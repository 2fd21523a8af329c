"""How often an iteration waits for the device: counted on a GPU by CUDA, on the CPU by what would wait on a GPU.

Losses are read once a pass and scores once a window: these are what the loop is for, and they are counted apart.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from bench.job import call_online, make_parts

from gpu.cases import waits_case
from gpu.loop import Watched, settings
from gpu.place import Place
from gpu.result import Result
from gpu.waiting import CudaWaits, ModelledWaits

AT_MOST = 2
METHODS = {
    "fifo": ["precision=float32"],
    "uniform, derpp, augmented": [
        *("precision=float32", "replay=uniform", "replay.capacity=30", "regularizer=derpp"),
        "augmentation=flip_scale_crop_colour",
    ],
    "bfloat16, channels_last": ["precision=bfloat16", "channels_last=true"],
}


def measure(place: Place, result: Result) -> None:
    """Count the waits in each full iteration of each method."""
    case = waits_case(is_dry=place.is_dry)
    for name, more in METHODS.items():
        # A checkpoint reads all weights; without one in an iteration, what is left is what each iteration does.
        parts = make_parts([*settings(place, case), *more, "run.checkpoint_overhead=1e-9"])
        counter: CudaWaits | ModelledWaits = CudaWaits() if not place.is_dry else ModelledWaits(parts)
        begin: Callable[[], AbstractContextManager[object]] = counter.iteration
        parts.window = Watched(case.learn, case.test, case.test, wait=place.wait, around=begin)
        with counter:
            call_online(parts, place.folder / "run")
        others = [
            [wait for wait in waits if not wait.is_read] for waits in counter.iterations[:-1]
        ]  # the last one saves
        reads = [len(waits) - len(other) for waits, other in zip(counter.iterations, others, strict=False)]
        most = max(map(len, others))
        result.figure(f"waits of an iteration beyond losses and scores, {name}", most, at_most=AT_MOST)
        result.row("waits", method=name, iterations=len(others), others=most, reads=max(reads))
        for wait, count in Counter(wait for waits in counter.iterations[:-1] for wait in waits).most_common():
            result.row(
                "places, all iterations",
                method=name,
                where=wait.where,
                line=wait.line,
                reads="losses, scores" if wait.is_read else "",
                count=count,
            )
    if place.is_dry:
        result.note(
            "Counted on the CPU: tensors of the bank and of the student are marked, marks spread through operations, "
            "and what would wait for a GPU is counted where it happens to a marked tensor."
        )
    else:
        result.note(f"Counted by torch.cuda.set_sync_debug_mode of torch {torch.__version__}.")
