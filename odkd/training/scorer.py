"""The losses that replay memories may ask for: of the student on positions, now or after a virtual pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from odkd.evaluation.evaluate import Evaluator
from odkd.training.learn import Learner
from odkd.training.pixel_counts import class_pixels


class StudentScorer:
    """Scorer (`replay.Scorer`) of the current student.

    Args:
        batch_size: positions per update of a virtual pass, which takes them in the given order.
    """

    def __init__(self, learner: Learner, evaluator: Evaluator, *, batch_size: int) -> None:
        self._learner, self._evaluator, self._batch_size = learner, evaluator, batch_size

    def __call__(self, positions: Sequence[int]) -> Tensor:
        return self._evaluator.losses(self._learner.student, positions, self._learner.source)

    def pixels(self, positions: Sequence[int]) -> Tensor:
        bank = self._evaluator.bank
        return class_pixels(bank, self._learner.source, positions).cpu()

    def after_learning(self, positions: Sequence[int], *, learning_rate: float | None = None) -> "StudentScorer":
        device = self._learner.device
        copied = self._learner.virtual_copy(learning_rate)
        size = self._batch_size
        batches = [positions[start : start + size] for start in range(0, len(positions), size)]
        # Dropout in the virtual pass must not change the random numbers of the run.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            copied.learn(self._evaluator.bank, batches, stream_positions=positions)
        return StudentScorer(copied, self._evaluator, batch_size=size)
