"""odkd: online and multistage knowledge distillation for semantic segmentation."""

__version__ = "0.3.0"

from typing import TYPE_CHECKING, Any

from odkd.common.threads import share_the_machine

if TYPE_CHECKING:
    from odkd.config.segmenter import Segmenter

__all__ = ["load"]
share_the_machine()  # here, because every command, child process and worker imports this first, and torch later


def load(run: Any, student: str | None = None, **settings: Any) -> "Segmenter":
    """Load a student of a run: `odkd.load("outputs/runs/NAME-KEY").segment(image_HWC)`; see `load_student`."""
    from pathlib import Path

    from odkd.config.segmenter import load_student

    return load_student(Path(run), student, **settings)
