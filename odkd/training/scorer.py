"""What replay methods may ask about the student: its loss on positions, now or after a virtual pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from odkd.evaluation.evaluate import Evaluator
from odkd.training.learn import Learner


class StudentScorer:
    """Answers from the current student; the virtual pass uses `batch_size` positions an update, in their order."""

    def __init__(self, learner: Learner, evaluator: Evaluator, *, batch_size: int) -> None:
        self._learner, self._evaluator, self._batch_size = learner, evaluator, batch_size

    def __call__(self, positions: Sequence[int]) -> Tensor:
        return self._evaluator.losses(self._learner.student, positions, self._learner.source)

    def after_learning(self, positions: Sequence[int], *, learning_rate: float | None = None) -> "StudentScorer":
        device = self._learner.device
        copied = self._learner.virtual_copy(learning_rate)
        size = self._batch_size
        batches = [positions[start : start + size] for start in range(0, len(positions), size)]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws as if nothing was asked
            copied.learn(self._evaluator.bank, batches, stream_positions=positions)
        return StudentScorer(copied, self._evaluator, batch_size=size)
