"""What a live session shows: one view of it, and the page that is given views.

The session makes a `View` whenever it likes and gives it to `Page.show`. Only the newest one is kept, and its pictures
are encoded when somebody looks; so a page costs a session next to nothing, however many look at it, or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Image = np.ndarray  # uint8 [H, W, 3], RGB
Labels = np.ndarray  # uint8 [H, W], class ids; 255 is ignored


@dataclass(frozen=True)
class View:
    """A session at one moment, in plain values. Arrays belong to the page from now on: give it copies of what changes.

    Label maps may be of another size than their frames: the page stretches them.
    """

    seconds: float
    """Since the start of the session."""
    frame_number: int
    """Of `image_HWC`, in the source."""
    image_HWC: Image | None = None
    """The newest frame that the student has answered; None before the first."""
    labels_HW: Labels | None = None
    """The student's answer to it."""
    teacher_image_HWC: Image | None = None
    """The frame of the teacher's last label."""
    teacher_labels_HW: Labels | None = None
    """The teacher's last label; None before the first."""
    teacher_made_seconds: float | None = None
    """When the teacher made it, since the start of the session."""
    scores: Sequence[tuple[float, float]] = ()
    """mIoU of the student against the teacher, 0 to 1, by seconds since the start; any number, ascending."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Metric names of odkd/common/metric_names.py -> the newest value: ages, rates, dropped frames, memory."""
    state: Mapping[str, str] = field(default_factory=dict)
    """Part of the session (student, teacher, trainer, source) -> "running", "restarting: why", "waiting for ..."."""
    palette: Sequence[Sequence[int]] = ()
    """[R, G, B] per class."""
    classes: Sequence[str] = ()
    """Names of the classes, by id."""
    title: str = ""
    """What is played: the name of the dataset or source."""


class Page(Protocol):
    """A page that shows the newest view. A session works the same whether it is looked at or not."""

    address: str | None
    """What to type into a browser, such as "http://127.0.0.1:8050/"; None if there is no page."""

    def show(self, view: View) -> None:
        """Show a view from now on, in place of the one before. It returns at once and never raises."""
        ...

    def close(self) -> None:
        """Stop serving. Calls after the first do nothing."""
        ...


class NoPage:
    """The page of a session without one."""

    address: str | None = None

    def show(self, view: View) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
