"""Labelling: the teacher labels the sampled frames of the stream, once, into the label store."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from odkd.common.metric_names import metric_name
from odkd.common.names import counted
from odkd.data.labels import LabelSource
from odkd.data.labels.teacher_labels import TeacherLabels
from odkd.evaluation.evaluate import score_metrics
from odkd.evaluation.split_scores import score_labels
from odkd.runs.run import OpenRun
from odkd.stages import Traits

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Label:
    """Scores the teacher's labels, which are complete before a stage begins.

    Args:
        name: of the stage, in the run's folder and in MLflow.
    """

    name: str
    traits: ClassVar[Traits] = Traits(learns=False, leaves_student=False, always=True, is_shared=True, compared=None)

    def run(
        self,
        *,
        teacher_labels: TeacherLabels,
        labels: LabelSource,
        groundtruth: LabelSource | None,
        classes: Sequence[str],
        run: OpenRun,
    ) -> dict[str, float]:
        """Score the labels against ground truth, if there is any, and return the summary.

        Pixels that the teacher ignores are not scored. `teacher/ignored_share_groundtruth` is their share of the pixels
        with known truth: without it, a teacher that ignores difficult pixels would seem better than it is.
        """
        num_positions = len(teacher_labels.stream)
        summary: dict[str, float] = {"num_labelled": num_positions}
        confusions: dict[str, Tensor] = {}
        if groundtruth is not None:
            tally, ignored_share = score_labels(labels, groundtruth, range(num_positions), len(classes))
            confusions["groundtruth"] = tally.total_KK
            found = score_metrics(tally.total_KK[None], classes, "teacher", "groundtruth")
            per_frame = metric_name("teacher", "miou_per_frame", "groundtruth")
            summary |= {name: value for name, value in found.items() if name != per_frame}
            summary[metric_name("teacher", "ignored_share", "groundtruth")] = ignored_share
        logger.info(
            "labels of %s are in %s", counted(num_positions, "frame"), ", ".join(map(str, teacher_labels.folders))
        )
        run.save_confusions(confusions)
        return summary
