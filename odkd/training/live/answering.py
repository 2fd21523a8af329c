"""The student that answers: one frame after the other, with weights that are swapped whole between two frames."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from odkd.common.argmax import largest_class
from odkd.data.labels import LabelSource
from odkd.data.tensor_bank import Batch
from odkd.data.video.frames import FrameReader
from odkd.evaluation.evaluate import Evaluator
from odkd.training.live.kept import Kept

EvaluatorOf = Callable[[FrameReader, Mapping[str, LabelSource]], Evaluator]
NEVER = float("-inf")
ONLY = 0  # the place of the frame that is answered


class Answering:
    """A network that is used by one thread; others may look at its weights, and at what it said last.

    Args:
        student: whose weights it begins with.
        evaluator_of: makes what predicts.
        is_compiled: compile it, as the student is.
    """

    def __init__(self, student: nn.Module, evaluator_of: EvaluatorOf, *, is_compiled: bool) -> None:
        self._network = copy.deepcopy(student).eval().requires_grad_(False)
        if is_compiled:
            self._network.compile()
        self._kept = Kept()
        self._evaluator = evaluator_of(self._kept, {})
        self._lock = threading.Lock()  # of the weights
        self._logits_BKHW: Tensor | None = None
        self.labels_HW: np.ndarray | None = None  # its last answer
        self.learned_at = NEVER  # seconds of the session at which the training of its weights began
        self.num_swaps = 0

    def warm_up(self, size: tuple[int, int]) -> None:
        """Answer a black frame of (height, width): the first answer takes several times as long as the others."""
        self.answer(np.zeros((*size, 3), np.uint8))
        self.labels_HW = self._logits_BKHW = None

    @property
    def like(self) -> dict[str, Tensor]:
        """The weights themselves, which change: for their names, shapes and types."""
        return self._network.state_dict()

    def answer(self, image_HWC: np.ndarray) -> np.ndarray:
        """Return the class of each pixel of a frame at the student's size: uint8 [H, W]."""
        self._kept.put(ONLY, image_HWC)
        found: list[Tensor] = []

        def take(_: Batch, logits_BKHW: Tensor) -> None:
            self._logits_BKHW = logits_BKHW
            found.append(largest_class(logits_BKHW))

        self._evaluator.each_logits(self._network, [ONLY], take)
        self._evaluator.bank.retain([])
        self.labels_HW = found[0][0].cpu().numpy()
        return self.labels_HW

    def confidence(self) -> float:
        """Return the mean over the pixels of the largest probability in its last answer; 1 before the first."""
        logits_BKHW = self._logits_BKHW
        if logits_BKHW is None:
            return 1.0
        with torch.inference_mode():
            return float(logits_BKHW.float().softmax(1).amax(1).double().mean())

    def swap(self, weights: Mapping[str, Tensor], learned_at: float) -> None:
        """Use other weights from the next frame on."""
        self.load(weights)
        self.learned_at = learned_at
        self.num_swaps += 1

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights as they are."""
        with self._lock:
            self._network.load_state_dict(weights)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights that answer."""
        with self._lock:
            return {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
