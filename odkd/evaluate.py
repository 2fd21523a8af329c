"""Scores of a student on positions of the stream; the only place that switches a student to eval mode."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from odkd.bank import Bank, Batch
from odkd.device import autocast
from odkd.metrics import IGNORE, class_iou, confusion_matrices, mean_iou, pixel_accuracy


@dataclass(frozen=True)
class Scores:
    """By reference int64 [n, K, K] on the CPU, one matrix a frame; predictions uint8 [n, H, W]."""

    confusions: dict[str, Tensor]
    predictions_NHW: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluator:
    """How frames are predicted: `batch_size` at a time, in the run's precision, with the bank's frames and labels."""

    bank: Bank
    batch_size: int
    precision: str
    device: torch.device

    def scores(self, student: nn.Module, positions: Sequence[int]) -> Scores:
        """Predict `positions` and count against every label source of the bank. Learns nothing, writes nothing.

        Counting stays on the device; results are read from it once, at the end.
        """
        confusions: dict[str, list[Tensor]] = {source: [] for source in self.bank.sources}
        predictions: list[Tensor] = []

        def count(batch: Batch, logits_BKHW: Tensor) -> None:
            predicted_BHW = predict(logits_BKHW)
            for source, labels_BHW in batch.labels.items():
                confusions[source].append(confusion_matrices(predicted_BHW, labels_BHW, self.bank.num_classes))
            predictions.append(predicted_BHW)

        self._each_batch(student, positions, count)
        return Scores(
            {source: torch.cat(parts).cpu() for source, parts in confusions.items()},
            torch.cat(predictions).cpu().numpy(),
        )

    def losses(self, student: nn.Module, positions: Sequence[int], source: str) -> Tensor:
        """Mean cross-entropy of the student on each position: float32 [n] on the CPU (replay methods rank by it)."""
        losses: list[Tensor] = []

        def measure(batch: Batch, logits_BKHW: Tensor) -> None:
            labels_BHW = batch.labels[source].long()
            total = F.cross_entropy(logits_BKHW.float(), labels_BHW, ignore_index=IGNORE, reduction="none").sum((1, 2))
            losses.append(total / (labels_BHW != IGNORE).sum((1, 2)).clamp(min=1))

        self._each_batch(student, positions, measure)
        return torch.cat(losses).cpu() if losses else torch.empty(0)

    def _each_batch(self, student: nn.Module, positions: Sequence[int], use: Callable[[Batch, Tensor], None]) -> None:
        was_training = student.training
        student.eval()
        with torch.inference_mode():
            for start in range(0, len(positions), self.batch_size):
                batch = self.bank.get(positions[start : start + self.batch_size])
                with autocast(self.device, self.precision):
                    logits_BKHW = student(batch.images_BCHW)
                use(batch, logits_BKHW)
        student.train(was_training)


def predict(logits_BKHW: Tensor) -> Tensor:
    """The class with the largest logit: uint8 [B, H, W]; the lowest id among equals."""
    return logits_BKHW.max(1).indices.to(torch.uint8)  # max(1) is 6 times as fast as argmax(1) on CPUs


def score_metrics(confusions_NKK: Tensor, classes: Sequence[str], *, suffix: str) -> dict[str, float]:
    """Names and values of one window's scores against one reference; `suffix` names the reference.

    `miou` is dataset mIoU (one matrix for the window), `miou_per_frame` the mean of the frames' own.
    """
    total_KK = confusions_NKK.sum(0)
    values = {
        f"accuracy{suffix}": pixel_accuracy(total_KK),
        f"miou{suffix}": mean_iou(total_KK),
        f"miou_per_frame{suffix}": mean_iou(confusions_NKK).nanmean(),
    }
    values |= {f"iou{suffix}/{name}": iou for name, iou in zip(classes, class_iou(total_KK), strict=True)}
    return {name: value.item() for name, value in values.items()}


def mean_ignoring_nan(values: Iterable[float | None]) -> float:
    """Plain mean over windows; windows where a metric is undefined (None or NaN) do not count."""
    known = [v for v in values if v is not None and v == v]
    return sum(known) / len(known) if known else float("nan")
