"""A job's parts with a few resident positions, and the bare network beside it: for `learn` and `evaluate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench.core.limits import flops_per_second
from bench.core.result import Result, measured, size_name
from bench.core.timing import Timed, in_turn
from bench.dataset import make_video
from bench.job import PRECISIONS, REFERENCE, make_parts, overrides
from bench.network import BareNetwork, Example, cross_entropy
from odkd.common.device import PRECISIONS as PRECISIONS_OF_TORCH
from odkd.config.parts import Parts

STRIDE = 8


@dataclass(frozen=True)
class Steps:
    """Parts whose bank has all `positions`, the same frames as tensors, and two bare networks.

    `bare` computes as the job does; `plain` in float32 and the usual memory layout, as a typical loop.
    """

    parts: Parts
    positions: Sequence[int]
    examples: list[Example]
    plain_examples: list[Example]
    bare: BareNetwork
    plain: BareNetwork


def make_steps(folder: Path, size: tuple[int, int], num_frames: int, settings: Sequence[str]) -> Steps:
    """Build a job with TinyNet on `num_frames` positions of the generated video."""
    job = overrides(folder, make_video(folder, size), size=size, stride=STRIDE, learn=6, test=6)
    parts = make_parts([*job, *settings])
    positions = range(num_frames)
    batches = [parts.bank.get([position]) for position in positions]
    examples: list[Example] = [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]
    plain_examples: list[Example] = [(images.contiguous(), labels) for images, labels in examples]
    bare = BareNetwork.of(parts.learner)
    plain = BareNetwork.of(make_parts([*job, *REFERENCE]).learner, loss=cross_entropy)
    return Steps(parts, positions, examples, plain_examples, bare, plain)


def against_networks(
    folder: Path,
    size: tuple[int, int],
    num_frames: int,
    functions_of: Callable[[Steps], dict[str, Timed]],
    *,
    precision: str,
    rounds: int,
    with_backward: bool,
) -> tuple[list[Result], dict[str, list[float]]]:
    """Time odkd in turn with its own bare network and, where that differs, with a plain float32 one.

    Args:
        functions_of: "odkd", then "bare network", then the plain one under its name -> what is timed.
        precision: a key of `job.PRECISIONS`.
        with_backward: whether the limit, the network's arithmetic, includes the backward pass.

    Returns:
        odkd against each network, by frame; and the seconds of all, by name.
    """
    settings = PRECISIONS[precision]
    steps = make_steps(folder, size, num_frames, settings)
    functions = functions_of(steps)
    if settings is REFERENCE:
        functions.popitem()
    seconds = in_turn(functions, rounds)
    dtype = PRECISIONS_OF_TORCH[steps.parts.learner.precision] or torch.float32
    arithmetic = flops_of(steps.plain.student, size, with_backward=with_backward) / flops_per_second(dtype)
    steps.parts.close()
    results = [
        measured(
            precision if baseline == "bare network" else f"{precision}, all gains together",
            seconds["odkd"],
            "ms a frame",
            size=size_name(size),
            scale=1000 / num_frames,
            baseline=(baseline, theirs),
            limit=("arithmetic", [arithmetic * num_frames]),
            headline=settings is not REFERENCE,
        )
        for baseline, theirs in seconds.items()
        if baseline != "odkd"
    ]
    return results, seconds


def flops_of(student: nn.Module, size: tuple[int, int], *, with_backward: bool) -> int:
    """Return the multiplications and additions of a student's convolutions and products for one frame."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        logits_BKHW = student(torch.zeros(1, 3, *size))
        if with_backward:
            logits_BKHW.sum().backward()
    return int(counter.get_total_flops())
