"""Labelling: the teacher labels the sampled frames of the stream, once, into the label store."""

import logging
from collections.abc import Sequence

from torch import Tensor

from odkd.common.metric_names import metric_name
from odkd.data.labels import LabelSource
from odkd.data.labels.teacher_labels import TeacherLabels
from odkd.evaluation.evaluate import score_metrics
from odkd.evaluation.split_scores import score_labels
from odkd.runs.run import OpenRun

logger = logging.getLogger(__name__)


def label(
    *,
    teacher_labels: TeacherLabels,
    labels: LabelSource,
    groundtruth: LabelSource | None,
    classes: Sequence[str],
    run: OpenRun,
) -> dict[str, float]:
    """All labels are there when this begins (whoever asks for them has them made); score them where truth is known.

    Pixels that the teacher ignores are not scored, and `teacher/ignored_share_groundtruth` says how many they are
    of those whose truth is known: a teacher that ignores what is hard would else look better than it is.
    """
    num_positions = len(teacher_labels.stream)
    summary: dict[str, float] = {"num_labelled": num_positions}
    confusions: dict[str, Tensor] = {}
    if groundtruth is not None:
        tally, ignored_share = score_labels(labels, groundtruth, range(num_positions), len(classes))
        confusions["groundtruth"] = tally.total_KK
        found = score_metrics(tally.total_KK[None], classes, "teacher", "groundtruth")
        summary |= {name: value for name, value in found.items() if "per_frame" not in name}
        summary[metric_name("teacher", "ignored_share", "groundtruth")] = ignored_share
    logger.info("labels of %d frames are in %s", num_positions, ", ".join(map(str, teacher_labels.folders)))
    run.save_confusions(confusions)
    return summary
