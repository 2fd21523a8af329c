"""Scores of a student on positions of the stream; the only place that switches a student to eval mode."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from odkd.bank import Bank
from odkd.device import autocast
from odkd.metrics import IGNORE, class_iou, confusion_matrices, mean_iou, pixel_accuracy


@dataclass(frozen=True)
class Scores:
    """By reference int64 [n, K, K] on the CPU, one matrix a frame; predictions uint8 [n, H, W]."""

    confusions: dict[str, Tensor]
    predictions_NHW: np.ndarray


def evaluate(
    student: nn.Module, bank: Bank, positions: Sequence[int], *, batch_size: int, precision: str, device: torch.device
) -> Scores:
    """Predict `positions` and count against every label source of the bank. Learns nothing, writes nothing.

    Counting stays on the device; results are read from it once, at the end.
    """
    was_training = student.training
    student.eval()
    confusions: dict[str, list[Tensor]] = {source: [] for source in bank.sources}
    predictions = []
    with torch.inference_mode():
        for start in range(0, len(positions), batch_size):
            batch = bank.get(positions[start : start + batch_size])
            with autocast(device, precision):
                logits_BKHW = student(batch.images_BCHW)
            predicted_BHW = predict(logits_BKHW)
            for source, labels_BHW in batch.labels.items():
                confusions[source].append(confusion_matrices(predicted_BHW, labels_BHW, bank.num_classes))
            predictions.append(predicted_BHW)
        scores = Scores(
            {source: torch.cat(parts).cpu() for source, parts in confusions.items()},
            torch.cat(predictions).cpu().numpy(),
        )
    student.train(was_training)
    return scores


def predict(logits_BKHW: Tensor) -> Tensor:
    """The class with the largest logit: uint8 [B, H, W]; the lowest id among equals."""
    return logits_BKHW.max(1).indices.to(torch.uint8)  # max(1) is 6 times as fast as argmax(1) on CPUs


def position_losses(
    student: nn.Module,
    bank: Bank,
    positions: Sequence[int],
    *,
    source: str,
    batch_size: int,
    precision: str,
    device: torch.device,
) -> Tensor:
    """Mean cross-entropy of the student on each position, in eval mode: float32 [n] (replay methods rank by it)."""
    was_training = student.training
    student.eval()
    losses = []
    with torch.inference_mode():
        for start in range(0, len(positions), batch_size):
            batch = bank.get(positions[start : start + batch_size])
            with autocast(device, precision):
                logits_BKHW = student(batch.images_BCHW)
            labels_BHW = batch.labels[source].long()
            total = F.cross_entropy(logits_BKHW.float(), labels_BHW, ignore_index=IGNORE, reduction="none").sum((1, 2))
            losses.append(total / (labels_BHW != IGNORE).sum((1, 2)).clamp(min=1))
    student.train(was_training)
    return torch.cat(losses)


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
