"""Arg-max and confusion matrix of one frame, as an evaluation computes them, against PyTorch's and scikit-learn's."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.case import Case, SkippedError
from bench.core.limits import copy_seconds
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.dataset import CLASSES
from bench.job import SIZES, SMALL
from odkd.data.tensor_bank import Batch
from odkd.evaluation.evaluate import Evaluator

CASE = Case(
    question="What do arg-max and confusion matrix of a frame cost?",
    method="`Evaluator.confusions` with a student that returns stored logits of 19 classes, in turn with `argmax(1)` "
    "and `sklearn.metrics.confusion_matrix`, the usual way; the matrices must be equal. The limit is a copy of the "
    "logits' bytes.",
    repeats=5,
    seconds=25,
)
ROUNDS = 5
LAYOUTS = {
    "float32": (torch.float32, torch.contiguous_format),
    "bfloat16 channels-last": (torch.bfloat16, torch.channels_last),
}


class OneBatch:
    """A bank of one batch: images without content, and labels."""

    sources, num_classes = ("teacher",), CLASSES

    def __init__(self, labels_BHW: Tensor) -> None:
        self._batch = Batch(torch.empty(1, 3, *labels_BHW.shape[1:]), {"teacher": labels_BHW})

    def get(self, positions: Sequence[int]) -> Batch:  # noqa: ARG002
        return self._batch

    def prefetch(self, positions: Collection[int]) -> None:
        """There is nothing to read."""


class Stored(nn.Module):
    """A student that knows its answer."""

    def __init__(self, logits_BKHW: Tensor) -> None:
        super().__init__()
        self.logits_BKHW = logits_BKHW

    def forward(self, images_BCHW: Tensor) -> Tensor:  # noqa: ARG002
        return self.logits_BKHW


def measure(folder: Path, *, quick: bool) -> list[Result]:  # noqa: ARG001 - no files are needed
    """Return the time of a frame by size and by the type and memory layout of the logits."""
    try:
        from sklearn.metrics import confusion_matrix
    except ImportError as error:
        raise SkippedError("scikit-learn is not installed: pip install 'odkd[dev]'") from error
    results = []
    for size in (SMALL,) if quick else SIZES:
        for name, (dtype, layout) in LAYOUTS.items():
            torch.manual_seed(0)
            coarse = torch.randn(1, CLASSES, size[0] // 30, size[1] // 30)
            logits_BKHW = nn.functional.interpolate(coarse, size, mode="bilinear").to(dtype)
            logits_BKHW = logits_BKHW.contiguous(memory_format=layout)
            labels_BHW = nn.functional.interpolate(coarse + 0.3 * torch.randn_like(coarse), size).argmax(1).byte()
            evaluator = Evaluator(OneBatch(labels_BHW), 1, "float32", torch.device("cpu"))  # type: ignore[arg-type]
            student = Stored(logits_BKHW)

            def ours() -> np.ndarray:
                return evaluator.confusions(student, [0])["teacher"][0].numpy()  # noqa: B023

            def usual() -> np.ndarray:
                predicted_HW = logits_BKHW.argmax(1)[0].numpy()  # noqa: B023
                truth_HW = labels_BHW[0].numpy()  # noqa: B023
                matrix = confusion_matrix(truth_HW.ravel(), predicted_HW.ravel(), labels=range(CLASSES))
                return np.asarray(matrix)

            assert np.array_equal(ours(), usual()), "odkd and scikit-learn count differently"
            seconds = in_turn({"odkd": ours, "usual": usual}, 2 if quick else ROUNDS)
            results.append(
                measured(
                    f"arg-max and confusion matrix, {name}",
                    seconds["odkd"],
                    "ms a frame",
                    size=size_name(size),
                    scale=1000,
                    baseline=("argmax and scikit-learn", seconds["usual"]),
                    limit=("copy", [copy_seconds(logits_BKHW.nbytes)]),
                    headline=size == SIZES[1],
                )
            )
    return results
