"""What a session is told of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from odkd.training.live.answering import EvaluatorOf
from odkd.training.live.child import Equipment


@dataclass(frozen=True, kw_only=True)
class LivePlan:
    """The parts of a run that a live session needs, beside those that every stream needs.

    Args:
        equip: builds the parts of a run from its config, in a child process.
        cfg: of the run.
        evaluator_of: makes what predicts, from frames and labels.
        device: of the run.
        threads: CPU threads of each process; None = the cores are divided.
        size: (height, width) of the student.
        teacher_size: of what the teacher sees; None = as it comes.
        stride: frames from one sampled frame to the next, of a source that is no dataset.
        classes, palette: of the dataset.
        border_pixels: see `Evaluator`.
        title: name of the dataset.
    """

    equip: Callable[[Any], Equipment]
    cfg: Any
    evaluator_of: EvaluatorOf
    device: str
    threads: int | None
    size: tuple[int, int]
    teacher_size: tuple[int, int] | None
    stride: int
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    border_pixels: int
    title: str
