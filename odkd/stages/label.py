"""Labelling: the teacher labels the sampled frames of the stream, once, into the label store."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from odkd.evaluate import score_metrics
from odkd.labels import LabelSource, resize_nearest
from odkd.labels.cache import TeacherLabels
from odkd.metrics import IGNORE, confusion_matrices
from odkd.runs import Run

logger = logging.getLogger(__name__)


def label(
    *,
    teacher_labels: TeacherLabels,
    labels: LabelSource,
    groundtruth: LabelSource | None,
    classes: Sequence[str],
    run: Run,
) -> dict[str, float]:
    """All labels are there when this begins (whoever asks for them has them made); score them where truth is known.

    Pixels that the teacher ignores are not scored, and `teacher/ignored_share_groundtruth` says how many they are
    of those whose truth is known: a teacher that ignores what is hard would else look better than it is.
    """
    num_positions = len(teacher_labels.stream)
    summary: dict[str, float] = {"num_labelled": num_positions}
    confusions: dict[str, Tensor] = {}
    if groundtruth is not None:
        total_KK, num_true, num_scored = torch.zeros(len(classes), len(classes), dtype=torch.int64), 0, 0
        for position in range(num_positions):
            true_HW = groundtruth.read(position)
            taught_HW = resize_nearest(labels.read(position), true_HW.shape[:2])
            scored_HW = np.where(taught_HW == IGNORE, IGNORE, true_HW)
            known_HW = np.where(taught_HW == IGNORE, 0, taught_HW)  # not scored: any class will do
            total_KK += confusion_matrices(
                torch.from_numpy(known_HW)[None], torch.from_numpy(scored_HW)[None], len(classes)
            )[0]
            num_true += int((true_HW != IGNORE).sum())
            num_scored += int((scored_HW != IGNORE).sum())
        confusions["groundtruth"] = total_KK
        found = score_metrics(total_KK[None], classes, suffix="_groundtruth")
        summary |= {f"teacher/{name}": value for name, value in found.items() if "per_frame" not in name}
        summary["teacher/ignored_share_groundtruth"] = 1 - num_scored / max(num_true, 1)
    logger.info("labels of %d frames are in %s", num_positions, ", ".join(map(str, teacher_labels.folders)))
    run.save_confusions(confusions)
    return summary
