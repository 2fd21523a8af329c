"""Scores of students on a split at the size of the reference's label maps; their labels and their agreement."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.argmax import largest_class
from odkd.common.ignore import IGNORE
from odkd.common.metric_names import metric_name
from odkd.common.progress import tracked
from odkd.data.labels import LabelSource, resize_nearest
from odkd.data.labels.soft import top_k
from odkd.data.labels.store import Labelled, SoftSpec
from odkd.data.tensor_bank import Batch
from odkd.evaluation.enlarge import classes_at_size
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.metrics import confusion_matrices, ignore_borders, mean_iou
from odkd.evaluation.tally import Tally

REFERENCE_SIZE = (128, 128)  # pixels at which the reference code of MCKD for segmentation compares logits and labels


def score_student(
    evaluator: Evaluator, student: nn.Module, positions: Sequence[int], references: Mapping[str, LabelSource]
) -> dict[str, Tally]:
    """Count a student's pixels against each reference, at the size of the reference's label map of each frame.

    Logits are resized before the class is taken (`classes_at_size`); for equal sizes the counts are those of
    `Evaluator.scores`.
    """
    num_classes = evaluator.bank.num_classes
    tallies = {name: Tally(num_classes) for name in references}
    waiting = iter(positions)

    def count(_: Batch, logits_BKHW: Tensor) -> None:
        for logits_KHW in logits_BKHW:
            position = next(waiting)
            for name, source in references.items():
                label_HW = torch.from_numpy(np.array(source.read(position))).to(logits_KHW.device)
                height, width = label_HW.shape
                predicted_BHW = classes_at_size(logits_KHW[None], (height, width))
                label_BHW = ignore_borders(label_HW[None], evaluator.border_pixels)
                tallies[name].add(confusion_matrices(predicted_BHW, label_BHW, num_classes))

    evaluator.each_logits(student, positions, count)
    return tallies


def score_labels(
    labels: LabelSource, truth: LabelSource, positions: Sequence[int], num_classes: int
) -> tuple[Tally, float]:
    """Count the pixels of label maps against the ground truth, at its size; return also the share that is ignored.

    Pixels that `labels` ignores are not scored. The second result is their share of the pixels with a known truth: a
    labeller that ignores difficult pixels would look too good without it.
    """
    tally, num_true, num_scored = Tally(num_classes), 0, 0
    for position in tracked(positions, "scored labels of", "frames"):
        true_HW = truth.read(position)
        given_HW = resize_nearest(labels.read(position), true_HW.shape[:2])
        scored_HW = np.where(given_HW == IGNORE, IGNORE, true_HW)
        known_HW = np.where(given_HW == IGNORE, 0, given_HW)  # not scored, so any class will do
        tally.add(confusion_matrices(torch.from_numpy(known_HW)[None], torch.from_numpy(scored_HW)[None], num_classes))
        num_true += int((true_HW != IGNORE).sum())
        num_scored += int((scored_HW != IGNORE).sum())
    return tally, 1 - num_scored / max(num_true, 1)


def label_with(
    evaluator: Evaluator, student: nn.Module, positions: Sequence[int], soft: SoftSpec | None
) -> list[Labelled]:
    """Return a student's labels: class ids and, with `soft`, the most likely classes with their probabilities.

    Probabilities are averaged over pixels to the size of the soft labels, so that they still sum to 1.
    """
    found: list[Labelled] = []

    def keep(_: Batch, logits_BKHW: Tensor) -> None:
        labels_BHW = largest_class(logits_BKHW).cpu().numpy()
        if soft is None:
            found.extend(map(Labelled, labels_BHW))
            return
        probabilities_BKHW = F.adaptive_avg_pool2d(logits_BKHW.float().softmax(1), soft.size)
        ids_BkHW, shares_BkHW, _lost = top_k(probabilities_BKHW, soft.top_k)
        found.extend(
            Labelled(*parts) for parts in zip(labels_BHW, zip(ids_BkHW, shares_BkHW, strict=True), strict=True)
        )

    evaluator.each_logits(student, positions, keep)
    return found


def agreement(
    evaluator: Evaluator, students: Sequence[nn.Module], positions: Sequence[int], scope: str
) -> dict[str, float]:
    """Return the agreement of students' predictions at their own size, as means over all pairs of students.

    `miou` is the mIoU of one student against the other, which is symmetric; `equal_pixels` is the share of pixels with
    the same class.
    """
    num_classes = evaluator.bank.num_classes
    pairs = list(itertools.combinations(range(len(students)), 2))
    totals = {pair: torch.zeros(num_classes, num_classes, dtype=torch.int64) for pair in pairs}
    for start in range(0, len(positions), evaluator.batch_size):
        chunk = positions[start : start + evaluator.batch_size]
        predicted = [evaluator.predictions(student, chunk) for student in students]
        for one, other in pairs:
            totals[one, other] += confusion_matrices(predicted[one], predicted[other], num_classes).sum(0).cpu()
    total_PKK = torch.stack(list(totals.values())).double()
    equal_P = total_PKK.diagonal(dim1=1, dim2=2).sum(1) / total_PKK.sum((1, 2))
    found = {"miou": mean_iou(total_PKK).mean(), "equal_pixels": equal_P.mean()}
    return {metric_name(scope, score): value.item() for score, value in found.items()}


def reference_miou(
    evaluator: Evaluator,
    student: nn.Module,
    positions: Sequence[int],
    references: Mapping[str, LabelSource],
    scope: str,
    batch_size: int,
) -> dict[str, float]:
    """Return the mIoU of each batch at 128x128, averaged with the batch sizes as weights, against each reference.

    The reference code of MCKD for segmentation reports this score. It depends on the batch size and is no dataset mIoU:
    use it only to compare with that code. Logits are resized bilinearly, labels to the nearest pixel. A class that is
    in neither map of a batch is left out of the batch's mean.
    """
    num_classes, num_batches = evaluator.bank.num_classes, -(-len(positions) // batch_size)
    empty = torch.zeros(num_batches, num_classes, num_classes, dtype=torch.int64)
    batches = {name: empty.clone() for name in references}
    waiting = iter(enumerate(positions))

    def count(_: Batch, logits_BKHW: Tensor) -> None:
        for predicted_HW in largest_class(F.interpolate(logits_BKHW.float(), REFERENCE_SIZE, mode="bilinear")).cpu():
            number, position = next(waiting)
            for name, source in references.items():
                label_HW = torch.from_numpy(np.array(resize_nearest(source.read(position), REFERENCE_SIZE)))
                counts_1KK = confusion_matrices(predicted_HW[None], label_HW[None], num_classes)
                batches[name][number // batch_size] += counts_1KK[0]

    evaluator.each_logits(student, positions, count)
    sizes_N = torch.full((num_batches,), batch_size, dtype=torch.float64)
    sizes_N[-1:] = len(positions) - batch_size * (num_batches - 1)
    found: dict[str, float] = {}
    for name, batches_NKK in batches.items():
        miou_N = mean_iou(batches_NKK)
        weights_N = sizes_N.masked_fill(miou_N.isnan(), 0)
        found[metric_name(scope, "miou_128_batches", name)] = (
            (miou_N.nan_to_num(0) * weights_N).sum() / weights_N.sum()
        ).item()
    return found
