"""Training on images of which a student learns the labels of some alone; on the others it follows another network."""

from collections.abc import Collection
from dataclasses import replace

import torch

from odkd.common.device import upload
from odkd.common.ignore import IGNORE
from odkd.data.labels.soft import SoftLabels
from odkd.training.learn import Learner
from odkd.training.losses import WeighsClasses
from odkd.training.regularizers import Update
from odkd.training.regularizers.none import NoRegularizer


def only_labelled(
    update: Update, soft: SoftLabels | None, labelled: Collection[int]
) -> tuple[Update, SoftLabels | None]:
    """Return an update and its soft labels in which the pixels of all positions but `labelled` are ignored."""
    is_hidden = [position not in labelled for position in update.positions]
    hidden_B11 = upload(torch.tensor(is_hidden), update.labels_BHW.device)[:, None, None]
    shown = replace(update, labels_BHW=update.labels_BHW.masked_fill(hidden_B11, IGNORE))
    if soft is None:
        return shown, None
    return shown, soft._replace(classes_BkHW=soft.classes_BkHW.masked_fill(hidden_B11[:, None], IGNORE))


def check_partly(stage: str, learner: Learner) -> None:
    """Check that nothing of a run learns from images whose labels are to be ignored.

    Raises:
        ValueError: something does.
    """
    if not isinstance(learner.regularizer, NoRegularizer):
        raise ValueError(
            f"regularizer {type(learner.regularizer).__name__}: stage={stage} has its own; set regularizer=none"
        )
    if learner.features is not None:
        raise ValueError(
            f"features.pairs learns from the teacher's layers on all images, and in stage={stage} a student sees the "
            "teacher on some alone; leave it out"
        )
    if isinstance(learner.loss, WeighsClasses) and learner.loss.weighs_classes:
        raise ValueError(
            f"the loss {learner.loss.name} counts the pixels of each class in all images, and in stage={stage} a "
            "student sees the labels of some alone; give loss.class_weights one weight for each class, or null"
        )
