"""Labelling: the teacher labels the sampled frames of the stream, once, into the label store."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from odkd.evaluate import score_metrics
from odkd.labels import LabelSource, resize_nearest
from odkd.labels.cache import TeacherLabels
from odkd.metrics import IGNORE, confusion_matrices
from odkd.runs import Run
from odkd.video.stream import Stream

logger = logging.getLogger(__name__)


def label(
    *, stream: Stream, teacher_labels: TeacherLabels, groundtruth: LabelSource | None, classes: Sequence[str], run: Run
) -> dict[str, float]:
    """All labels are there when this begins (whoever asks for them has them made); score them where truth is known."""
    summary: dict[str, float] = {"num_labelled": len(stream)}
    if groundtruth is not None:
        total_KK = torch.zeros(len(classes), len(classes), dtype=torch.int64)
        for position in range(len(stream)):
            true_HW = groundtruth.read(position)
            taught_HW = resize_nearest(teacher_labels.read(position), true_HW.shape[:2])
            # Pixels that the teacher leaves out are no class of its own: they are not scored.
            scored_HW = np.where(taught_HW == IGNORE, IGNORE, true_HW)
            pair = torch.from_numpy(np.where(taught_HW == IGNORE, 0, taught_HW)), torch.from_numpy(scored_HW)
            total_KK += confusion_matrices(pair[0][None], pair[1][None], len(classes))[0]
        found = score_metrics(total_KK[None], classes, suffix="_groundtruth")
        summary |= {f"teacher/{name}": value for name, value in found.items() if "per_frame" not in name}
    logger.info("labels of %d frames are in %s", len(stream), ", ".join(map(str, teacher_labels.folders)))
    run.save_confusions({"groundtruth": total_KK} if groundtruth is not None else {})
    return summary
