"""Warnings about masks of 0 and 255, in the ground truth and in a folder of label maps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from odkd.config.image_datasets import has_images
from odkd.data.labels.unseen import count_values, unseen_warning

if TYPE_CHECKING:
    from odkd.data.labels.image_groundtruth import PictureLabels
    from odkd.data.labels.teacher_labels import TeacherLabels
    from odkd.data.labels.video_groundtruth import ImageLabels

logger = logging.getLogger(__name__)


def warn_of_truth(dataset: DictConfig, truth: ImageLabels | PictureLabels, num_positions: int) -> None:
    """Warn if a class never occurs in the ground truth and much is 255.

    Nothing is read if the config says what the maps are (`groundtruth_classes`): parts of a data set lack classes.
    """
    if dataset.get("groundtruth_classes") is not None:
        return
    classes = list(dataset.classes)
    setting = "ids: {} in dataset.groundtruth" if has_images(dataset) else "dataset.ids={}"
    counts = count_values(truth.as_it_lies, range(num_positions), len(classes))
    if counts is not None and (warning := unseen_warning(counts, classes, setting)):
        logger.warning("ground truth: %s", warning)


def warn_of_labels(cfg: DictConfig, labels: TeacherLabels, classes: list[str] | None) -> None:
    """Warn of the same in the labels of a teacher that reads label maps (it has a setting `ids`).

    Args:
        classes: of the teacher; None = those of the dataset.
    """
    if "ids" in cfg.teacher:
        known = classes or list(cfg.dataset.classes)
        if warning := unseen_warning(labels.histogram(Path(cfg.paths.cache)), known, "teacher.ids={}"):
            logger.warning("teacher %s: %s", cfg.teacher.name, warning)
