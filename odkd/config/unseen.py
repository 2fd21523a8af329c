"""Warnings about masks of 0 and 255, in the ground truth and in a folder of label maps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from odkd.common.files import json_digest
from odkd.common.notes import remembered
from odkd.config.image_datasets import has_images, ids_of, label_places
from odkd.data.labels.unseen import count_values, unseen_warning

if TYPE_CHECKING:
    from odkd.data.labels.image_groundtruth import PictureLabels
    from odkd.data.labels.teacher_labels import TeacherLabels
    from odkd.data.labels.video_groundtruth import ImageLabels

logger = logging.getLogger(__name__)


def warn_of_truth(
    dataset: DictConfig, truth: ImageLabels | PictureLabels, num_positions: int, *, version: object, cache: Path
) -> None:
    """Warn if a class never occurs in the ground truth and much is 255.

    Nothing is read if the config says what the maps are (`groundtruth_classes`): parts of a data set lack classes.

    Args:
        version: of the contents of the maps, as JSON: they are counted once for each.
    """
    if dataset.get("groundtruth_classes") is not None:
        return
    classes = list(dataset.classes)
    note = cache / "digests" / json_digest(["values of the ground truth", version, classes])

    def count() -> list[int] | None:
        found = count_values(truth.as_it_lies, range(num_positions), len(classes))
        return None if found is None else found.tolist()

    known = remembered(note, count)
    counts = None if known is None else np.array(known, np.int64)
    setting, is_set = "dataset.ids={}", ids_of(dataset) is not None
    if has_images(dataset):
        setting = "ids: {} in dataset.groundtruth"
        is_set = any(place.ids is not None for place in label_places(dataset))
    if counts is not None and (warning := unseen_warning(counts, classes, setting, is_set=is_set)):
        logger.warning("ground truth: %s", warning)


def warn_of_labels(cfg: DictConfig, labels: TeacherLabels, classes: list[str] | None) -> None:
    """Warn of the same in the labels of a teacher that reads label maps (it has a setting `ids`).

    Args:
        classes: of the teacher; None = those of the dataset.
    """
    if "ids" in cfg.teacher:
        known, counts = classes or list(cfg.dataset.classes), labels.histogram(Path(cfg.paths.cache))
        if warning := unseen_warning(counts, known, "teacher.ids={}", is_set=cfg.teacher.ids is not None):
            logger.warning("teacher %s: %s", cfg.teacher.name, warning)
