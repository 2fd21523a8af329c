"""Answers meet labels: scores of what the student said about a frame when it came, by steps of the window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odkd.common.metric_names import metric_name
from odkd.data.window import Step, Window
from odkd.evaluation.evaluate import score_metrics
from odkd.evaluation.metrics import confusion_matrices, ignore_borders, steady_pixels

REFERENCE = "teacher"
MOST_SHOWN = 1000  # complete windows whose scores are kept for a page


@dataclass
class Sampled:
    """What is known of a sampled frame.

    Args:
        seconds: when it came.
        domain: where it was taken.
        learned_at: when the training of the weights that answered it began.
        answer_HW, label_HW: uint8, until both are there and are counted.
        is_answered, is_awaited: an answer was given; a label may come.
        confusion_KK: counts of its pixels.
    """

    seconds: float
    domain: str
    learned_at: float = float("-inf")
    answer_HW: np.ndarray | None = None
    label_HW: np.ndarray | None = None
    is_answered: bool = False
    is_awaited: bool = False
    confusion_KK: Tensor | None = None
    steady_2: Tensor | None = None  # with the frame before


class Scoring:
    """The sampled frames of the windows that are not complete.

    Args:
        classes: of the dataset.
        border_pixels: as in `Evaluator`.
        first: iteration to go on with.
        begin: the sampled frame that it begins with; those before came in earlier sessions, and are gone.
    """

    def __init__(
        self, window: Window, classes: Sequence[str], *, border_pixels: int = 0, first: int = 0, begin: int = 0
    ) -> None:
        self._window, self._classes, self._border_pixels = window, classes, border_pixels
        self._frames: dict[int, Sampled] = {}
        self._arrived = self._begin = begin
        self.iteration = self._first = first
        self._before: tuple[int, np.ndarray, np.ndarray] | None = None  # number, answer and label that were scored last
        self.total_KK = torch.zeros(len(classes), len(classes), dtype=torch.int64)
        self.so_far: deque[tuple[float, float]] = deque(maxlen=MOST_SHOWN)  # seconds and mIoU of complete windows

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def position(self) -> int:
        """The first sampled frame of the window that is not complete."""
        return self._begin + (self.iteration - self._first) * self._window.step

    def is_step(self, number: int) -> bool:
        """Return whether a step of the window begins with a sampled frame."""
        return (number - self._begin) % self._window.step == 0

    def arrived(self, number: int, seconds: float, domain: str) -> None:
        """Note that a sampled frame has come."""
        self._frames[number] = Sampled(seconds, domain)
        self._arrived = number + 1

    def sent(self, number: int) -> None:
        """Note that its label may come."""
        self._frames[number].is_awaited = True

    def lost(self, number: int) -> None:
        """Note that no label will come."""
        if (frame := self._frames.get(number)) is not None:
            frame.is_awaited, frame.answer_HW = False, None

    def answered(self, number: int, answer_HW: np.ndarray | None, learned_at: float) -> None:
        """Take what the student said when the frame came, uint8 [H, W]; None = it has never said anything."""
        if (frame := self._frames.get(number)) is not None:
            frame.is_answered, frame.answer_HW, frame.learned_at = True, answer_HW, learned_at
            self._count(number, frame)

    def labelled(self, number: int, label_HW: np.ndarray) -> None:
        """Take the label, uint8 [H, W] at the student's size."""
        if (frame := self._frames.get(number)) is not None:
            frame.label_HW = label_HW
            self._count(number, frame)

    def seconds_of(self, number: int) -> float:
        """Return when a frame came; that of the oldest known one for an older one."""
        frame = self._frames.get(number)
        return min((f.seconds for f in self._frames.values()), default=0.0) if frame is None else frame.seconds

    def learned_at(self, number: int) -> float:
        """Return when the training of the weights that answered a frame began."""
        return self._frames[number].learned_at

    def domain_of(self, number: int) -> str:
        """Return where a frame was taken."""
        return self._frames[number].domain

    def complete(self) -> Iterator[Step]:
        """Yield each step whose test window is complete: all its frames have come, and no label or answer is awaited.

        What no later window needs is forgotten when the next one is asked for.
        """
        while True:
            now, size = self.position, self._window.step
            test = range(now, now + self._window.test)
            if test.stop > self._arrived or any(self._is_open(number) for number in test):
                return
            yield Step(self.iteration, now, range(max(self._begin, now - size), now), test, range(now, now + size))
            self.iteration += 1
            for number in [n for n in self._frames if n < self.position]:
                del self._frames[number]

    def metrics(self, step: Step) -> dict[str, float]:
        """Return the scores of a complete window, `test/...`, of the frames that the teacher has labelled."""
        frames = [self._frames[number] for number in step.test]
        counted = [frame.confusion_KK for frame in frames if frame.confusion_KK is not None]
        steady = [frame.steady_2 for frame in frames[1:] if frame.steady_2 is not None]
        confusions_NKK = torch.stack(counted) if counted else torch.zeros(0, *self.total_KK.shape, dtype=torch.int64)
        self.total_KK += confusions_NKK.sum(0)
        found = score_metrics(confusions_NKK, self._classes, "test", REFERENCE)
        num_standing, num_steady = (torch.stack(steady).sum(0) if steady else torch.zeros(2)).double()
        found[metric_name("test", "consistency", REFERENCE)] = (num_steady / num_standing).item()
        self.so_far.append((frames[-1].seconds, found[metric_name("test", "miou", REFERENCE)]))
        return found

    def _is_open(self, number: int) -> bool:
        frame = self._frames[number]
        return frame.is_awaited or not frame.is_answered

    def _count(self, number: int, frame: Sampled) -> None:
        """Count the pixels of a frame once its answer and its label are there."""
        if frame.label_HW is None or not frame.is_answered:
            return
        if frame.answer_HW is not None:
            answer_1HW = torch.from_numpy(frame.answer_HW)[None]
            label_1HW = ignore_borders(torch.from_numpy(frame.label_HW)[None], self._border_pixels)
            frame.confusion_KK = confusion_matrices(answer_1HW, label_1HW, len(self._classes))[0]
            if self._before is not None and self._before[0] == number - 1:
                pair = [
                    torch.stack([torch.from_numpy(old), new[0]])
                    for old, new in zip(self._before[1:], (answer_1HW, label_1HW), strict=True)
                ]
                frame.steady_2 = steady_pixels(*pair)[0]
            self._before = (number, frame.answer_HW, label_1HW[0].numpy())
        frame.answer_HW = frame.label_HW = None
        frame.is_awaited = False

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total_KK, "so_far": [list(pair) for pair in self.so_far]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total_KK = state["total"]
        self.so_far.extend((seconds, miou) for seconds, miou in state["so_far"])
