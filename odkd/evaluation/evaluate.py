"""Predictions, scores and losses of a student on positions of the stream, in eval mode."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.argmax import largest_class
from odkd.common.device import autocast
from odkd.common.ignore import IGNORE
from odkd.common.layout import float_planes
from odkd.common.metric_names import metric_name
from odkd.common.settings import NaturalInt
from odkd.data.tensor_bank import Bank, Batch
from odkd.evaluation.answers import Answers, Scores
from odkd.evaluation.metrics import (
    class_iou,
    confusion_matrices,
    ignore_borders,
    mean_iou,
    pixel_accuracy,
    steady_pixels,
)

Name = TypeVar("Name")


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Predicts and scores the frames of a bank against its labels, in the run's precision.

    Args:
        batch_size: frames predicted at once.
        border_pixels: reference pixels at most so many pixels from another class are not scored.
        predictor: "teacher" = score the teacher's labels in place of the student's predictions; pixels that the teacher
            ignores are not scored.
    """

    bank: Bank
    batch_size: int
    precision: str
    device: torch.device
    border_pixels: NaturalInt = 0
    predictor: Literal["student", "teacher"] = "student"

    def confusions(self, student: nn.Module, positions: Sequence[int]) -> dict[str, Tensor]:
        """Predict `positions` and return source -> confusion matrices for every label source of the bank.

        They are int64 [n, K, K] on the CPU, one matrix per frame.
        """
        return self.confusions_of_windows(student, [positions])[0]

    def confusions_of_windows(self, student: nn.Module, windows: Sequence[Sequence[int]]) -> list[dict[str, Tensor]]:
        """Return the `confusions` of each window, {} if all are empty; no batch has frames of two windows.

        Counts of all windows stay on the device and are read once, at the end.
        """
        if not any(windows):
            return [{} for _ in windows]
        counted: dict[str, list[Tensor]] = {source: [] for source in self.bank.sources}

        def count(batch: Batch, predicted_BHW: Tensor) -> None:
            for source, labels_BHW in self._scored_labels(batch).items():
                counted[source].append(confusion_matrices(predicted_BHW, labels_BHW, self.bank.num_classes))

        for positions in windows:
            self._each_batch(student, positions, count)
        found = read_once({source: torch.cat(parts) for source, parts in counted.items()})
        sizes = [len(positions) for positions in windows]
        parts = [torch.split(confusions_NKK, sizes) for confusions_NKK in found.values()]
        return [dict(zip(found, window, strict=True)) for window in zip(*parts, strict=True)]

    def scores(self, student: nn.Module, positions: Sequence[int]) -> Scores:
        """Return the confusion matrices, steady pixels and predictions of consecutive positions."""
        return self.scores_of([Answers(student, positions, positions)])

    def scores_of(self, answers: Iterable[Answers]) -> Scores:
        """Return the same of networks that answer one after the other; each may change once the next is asked for."""
        sources, num_classes = self.bank.sources, self.bank.num_classes
        confusions: dict[str, list[Tensor]] = {source: [] for source in sources}
        steady: dict[str, list[Tensor]] = {source: [] for source in sources}
        predictions: list[Tensor] = []
        before: dict[str, Tensor] = {}  # source -> last reference map of the previous batch

        def count(batch: Batch, predicted_BHW: Tensor) -> None:
            for source, labels_BHW in self._scored_labels(batch).items():
                confusions[source].append(confusion_matrices(predicted_BHW, labels_BHW, num_classes))
                if predictions:
                    two_HW = [predictions[-1][-1:], predicted_BHW[:1]]
                    steady[source].append(steady_pixels(torch.cat(two_HW), torch.cat([before[source], labels_BHW[:1]])))
                if len(labels_BHW) > 1 or not predictions:
                    steady[source].append(steady_pixels(predicted_BHW, labels_BHW))
                before[source] = labels_BHW[-1:]
            predictions.append(predicted_BHW)

        for network, positions, shown in answers:
            self._each_batch(network, positions, count, shown)
        counts = {("confusions", source): torch.cat(parts) for source, parts in confusions.items()}
        found = read_once(counts | {("steady", source): torch.cat(parts) for source, parts in steady.items()})
        return Scores(
            {source: found["confusions", source] for source in sources},
            {source: found["steady", source] for source in sources},
            torch.cat(predictions).cpu().numpy(),
        )

    def _scored_labels(self, batch: Batch) -> dict[str, Tensor]:
        """Return source -> label maps of the batch, with 255 for pixels that are not scored."""
        scored: dict[str, Tensor] = {}
        for source, labels_BHW in batch.labels.items():
            if self.predictor == "teacher":
                labels_BHW = labels_BHW.masked_fill(batch.labels["teacher"] == IGNORE, IGNORE)
            scored[source] = ignore_borders(labels_BHW, self.border_pixels)
        return scored

    def losses(self, student: nn.Module, positions: Sequence[int], source: str) -> Tensor:
        """Return the student's mean cross-entropy on each position: float32 [n] on the CPU; replay memories use it."""
        losses: list[Tensor] = []

        def measure(batch: Batch, logits_BKHW: Tensor) -> None:
            labels_BHW = batch.labels[source].long()
            total = F.cross_entropy(float_planes(logits_BKHW), labels_BHW, ignore_index=IGNORE, reduction="none").sum(
                (1, 2)
            )
            losses.append(total / (labels_BHW != IGNORE).sum((1, 2)).clamp(min=1))

        self.each_logits(student, positions, measure)
        return torch.cat(losses).cpu() if losses else torch.empty(0)

    def _each_batch(
        self,
        student: nn.Module,
        positions: Sequence[int],
        use: Callable[[Batch, Tensor], None],
        shown: Sequence[int] | None = None,
    ) -> None:
        """Call `use` with each batch and its predictions uint8 [B, H, W], of the frames `shown` if others."""
        if self.predictor == "student":
            self.each_logits(
                student, positions, lambda batch, logits_BKHW: use(batch, largest_class(logits_BKHW)), shown
            )
            return
        for start in range(0, len(positions), self.batch_size):
            batch = self.bank.get(positions[start : start + self.batch_size])
            labels_BHW = batch.labels["teacher"]
            use(batch, labels_BHW.masked_fill(labels_BHW == IGNORE, 0))  # not scored, so any class will do

    def predictions(self, student: nn.Module, positions: Sequence[int]) -> Tensor:
        """Return the student's predicted classes: uint8 [n, H, W] on the device."""
        found: list[Tensor] = []
        self.each_logits(student, positions, lambda _, logits_BKHW: found.append(largest_class(logits_BKHW)))
        return torch.cat(found)

    def each_logits(
        self,
        student: nn.Module,
        positions: Sequence[int],
        use: Callable[[Batch, Tensor], None],
        shown: Sequence[int] | None = None,
    ) -> None:
        """Call `use` with each batch, in order, and the student's logits [B, K, H, W], of the images `shown` if others.

        Args:
            shown: the position of the image for each of `positions`.
        """
        was_training = student.training
        student.eval()
        with torch.inference_mode():
            for start in range(0, len(positions), self.batch_size):
                end = start + self.batch_size
                batch = self.bank.get(positions[start:end])
                if shown is not None and list(shown[start:end]) != list(positions[start:end]):
                    batch = batch._replace(images_BCHW=self.bank.get(shown[start:end]).images_BCHW)
                self.bank.prefetch(positions[end : end + self.batch_size])
                with autocast(self.device, self.precision):
                    logits_BKHW = student(batch.images_BCHW)
                check_shape(logits_BKHW, batch, self.bank.num_classes)
                use(batch, logits_BKHW)
        student.train(was_training)


def check_shape(logits_BKHW: Tensor, batch: Batch, num_classes: int) -> None:
    """Check that a student has one logit for each class and pixel; more of them would count as other classes.

    Raises:
        ValueError: it answers otherwise.
    """
    expected = (len(batch.images_BCHW), num_classes, *batch.images_BCHW.shape[2:])
    if tuple(logits_BKHW.shape) != expected:
        raise ValueError(
            f"the student answers {list(logits_BKHW.shape)}; expected logits [B, K, H, W] = {list(expected)}: "
            "odkd.students.trial.try_student makes full logits of other forms"
        )


def read_once(counts: Mapping[Name, Tensor]) -> dict[Name, Tensor]:
    """Return integer tensors of one dtype on the CPU; a device is waited for once, however many there are."""
    if not counts:
        return {}
    together = torch.cat([tensor.flatten() for tensor in counts.values()]).cpu()
    parts = torch.split(together, [tensor.numel() for tensor in counts.values()])
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(counts.items(), parts, strict=True)}


def score_metrics(confusions_NKK: Tensor, classes: Sequence[str], scope: str, reference: str) -> dict[str, float]:
    """Return the scores of one window against one reference, by their names in `scope`.

    `miou` is the dataset mIoU (one matrix for the window), `miou_per_frame` the mean over the frames' own matrices.
    """
    total_KK = confusions_NKK.sum(0)
    values = {
        metric_name(scope, "accuracy", reference): pixel_accuracy(total_KK),
        metric_name(scope, "miou", reference): mean_iou(total_KK),
        metric_name(scope, "miou_per_frame", reference): mean_iou(confusions_NKK).nanmean(),
    }
    for name, iou in zip(classes, class_iou(total_KK), strict=True):
        values[metric_name(scope, "iou", reference, name)] = iou
    return {name: value.item() for name, value in values.items()}


def mean_ignoring_nan(values: Iterable[float | None]) -> float:
    """Return the mean over windows; windows with an undefined value (None or NaN) do not count."""
    known = [v for v in values if v is not None and v == v]
    return sum(known) / len(known) if known else float("nan")
