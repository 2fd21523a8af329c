"""Checkpoints: writing and reading the state of a run."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bench.core.case import Case
from bench.core.limits import durable_write_seconds
from bench.core.result import Result, measured
from bench.core.timing import in_turn
from bench.dataset import CLASSES
from odkd.common.optional import is_installed
from odkd.runs.checkpoint import Checkpoint
from odkd.students.tinynet import TinyNet

CASE = Case(
    question="What do writing and reading a checkpoint cost?",
    method="`Checkpoint.save`, which is atomic and durable, and `load`, of a student with Adam's moments, in turn with "
    "`torch.save` to a file, which is neither, and `torch.load`. The limit of the write is writing as many bytes until "
    "the disk has them.",
    repeats=5,
    seconds=10,
)
ROUNDS = 5


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return write and read by student."""
    students: dict[str, Callable[[], nn.Module]] = {"TinyNet": lambda: TinyNet(CLASSES)}
    if is_installed("segmentation_models_pytorch") and not quick:
        students["FPN EfficientNet-B0"] = _fpn
    results = []
    for name, make in students.items():
        state = state_of(make())
        checkpoint, plain = Checkpoint(folder / "checkpoint.pt", overhead=0.01), folder / "plain.pt"
        checkpoint.save(state)
        num_bytes = (folder / "checkpoint.pt").stat().st_size
        rounds = 2 if quick else ROUNDS
        seconds = in_turn(
            {
                "write": lambda: checkpoint.save(state),  # noqa: B023
                "plain write": lambda: torch.save(state, plain),  # noqa: B023
                "read": checkpoint.load,
                "plain read": lambda: torch.load(plain, weights_only=True),  # noqa: B023
            },
            rounds,
        )
        durable = [durable_write_seconds(folder, num_bytes) for _ in range(rounds)]
        for what, limit in (("write", ("durable write", durable)), ("read", None)):
            results.append(
                measured(
                    f"{what}, {name}, {num_bytes / 1e6:.1f} MB",
                    seconds[what],
                    "ms",
                    scale=1000,
                    baseline=("torch.save" if what == "write" else "torch.load", seconds[f"plain {what}"]),
                    limit=limit,
                )
            )
    return results


def state_of(student: nn.Module) -> dict[str, object]:
    """Return the state of a student and its optimizer after one step."""
    optimizer = torch.optim.Adam(student.parameters())
    sum(parameter.sum() for parameter in student.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return {"student": student.state_dict(), "optimizer": optimizer.state_dict()}


def _fpn() -> nn.Module:
    import segmentation_models_pytorch as smp

    return smp.FPN("efficientnet-b0", encoder_weights=None, classes=CLASSES)  # type: ignore[no-any-return]
