"""What a pace may ask about frames in a live session (`pace.Sight`): labels against labels, confidence."""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from collections.abc import Mapping

import numpy as np
import torch

from odkd.training.live.answering import Answering
from odkd.training.sight import agreement_of

NUM_LABELS = 2  # that are kept: the newest, and the one before it


class Glance:
    """Looks at the newest labels and at the last answer; nothing here takes the time of a forward pass."""

    def __init__(self, answering: Answering, num_classes: int) -> None:
        self._answering, self._num_classes = answering, num_classes
        self._labels: dict[int, np.ndarray] = {}

    def keep(self, number: int, label_HW: np.ndarray) -> None:
        """Keep a label that has come, in place of the oldest one."""
        self._labels[number] = label_HW
        while len(self._labels) > NUM_LABELS:
            del self._labels[next(iter(self._labels))]

    def student_iou(self, position: int) -> float:
        """Return 0: the student in training is in another process, where its pace asks for it."""
        return 0.0

    def agreement(self, before: int, after: int) -> float:
        """Return the mIoU of one label against another; 1 where one is gone, in another session of the run."""
        first, second = self._labels.get(before), self._labels.get(after)
        if first is None or second is None:
            return 1.0
        return agreement_of(torch.from_numpy(first), torch.from_numpy(second), self._num_classes)

    def has_label(self, position: int) -> bool:
        """Return True: the teacher can be asked for any."""
        return True

    def confidence(self, position: int) -> float:
        """Return that of the answer that stands: the frame that has just come is answered after this."""
        return self._answering.confidence()


class Told(Glance):
    """A sight of numbers that the trainer has measured."""

    def __init__(self, glance: Glance, answers: Mapping[int, float]) -> None:
        super().__init__(glance._answering, glance._num_classes)
        self._labels, self._answers = glance._labels, answers

    def student_iou(self, position: int) -> float:
        """Return the IoU of the student in training."""
        return self._answers[position]
