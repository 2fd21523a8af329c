"""Reads of the tensor bank: of a position that is there, and of one that comes from the stores."""

from pathlib import Path

import torch

from bench.core.case import Case
from bench.core.limits import copy_seconds
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.dataset import make_video
from bench.job import PRECISIONS, REFERENCE, SIZES, SMALL, make_parts, overrides
from odkd.config.parts import Parts

CASE = Case(
    question="What does a frame with its label cost on its way to the network?",
    method="`Bank.get` of one position, resident (pixels and label in memory, to be made float tensors) and new "
    "(read from the frame store and the label store, whose files are in the page cache). The baseline of the first is "
    "the same arithmetic in one line of PyTorch, its limit a copy of as many bytes as it writes; the limit of the "
    "second a plain read of the frame's bytes.",
    repeats=5,
    seconds=25,
)
ROUNDS, FRAMES, STRIDE = 5, 12, 8


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return resident reads by size and memory layout, and new reads by size."""
    results = []
    for size in (SMALL,) if quick else SIZES:
        job = overrides(folder, make_video(folder, size), size=size, stride=STRIDE, learn=FRAMES // 2, test=FRAMES // 2)
        for settings in PRECISIONS.values():
            parts = make_parts([*job, *settings])
            is_usual = parts.bank.get([0]).images_BCHW.is_contiguous()
            layout = "contiguous" if is_usual else "channels-last"
            results += _measure(parts, size, layout, 2 if quick else ROUNDS, with_new=settings is REFERENCE)
            parts.close()
    return results


def _measure(parts: Parts, size: tuple[int, int], layout: str, rounds: int, *, with_new: bool) -> list[Result]:
    bank, positions = parts.bank, range(FRAMES)
    resident = [torch.from_numpy(parts.frames.read([position])) for position in positions]

    def read_all() -> None:
        for position in positions:
            bank.get([position])

    def plain() -> None:
        for images_BHWC in resident:
            images_BCHW = images_BHWC.permute(0, 3, 1, 2).float() / 255
            images_BCHW.contiguous(
                memory_format=torch.channels_last if layout == "channels-last" else torch.contiguous_format
            )

    def read_new() -> None:
        bank.retain([])
        read_all()

    def read_bytes() -> None:
        for position in positions:
            parts.frames.read([position])

    read_all()
    seconds = in_turn({"get": read_all, "plain": plain}, rounds)
    copying = copy_seconds(size[0] * size[1] * 3 * 4)
    each = 1000 / FRAMES
    results = [
        measured(
            f"resident, {layout}",
            seconds["get"],
            "ms a frame",
            size=size_name(size),
            scale=each,
            baseline=("plain PyTorch", seconds["plain"]),
            limit=("copy", [copying * FRAMES]),
        )
    ]
    if with_new:
        new = in_turn({"new": read_new, "bytes": read_bytes}, rounds)
        limit = ("read of the bytes", new["bytes"])
        results.append(measured("new", new["new"], "ms a frame", size=size_name(size), scale=each, limit=limit))
    return results
