"""A job's parts with a few resident positions, and the bare network beside it: for `learn` and `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench.dataset import make_video
from bench.job import REFERENCE, make_parts, overrides
from bench.network import BareNetwork, Example
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
    student = parts.learner.student
    bare = BareNetwork(student, precision=parts.learner.precision)
    plain = BareNetwork(make_parts([*job, *REFERENCE]).learner.student, precision="float32")
    return Steps(parts, positions, examples, plain_examples, bare, plain)


def flops_of(student: nn.Module, size: tuple[int, int], *, with_backward: bool) -> int:
    """Return the multiplications and additions of a student's convolutions and products for one frame."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        logits_BKHW = student(torch.zeros(1, 3, *size))
        if with_backward:
            logits_BKHW.sum().backward()
    return int(counter.get_total_flops())
