"""A teacher built from its settings; first its members, mapped to the dataset's classes, if it is made of teachers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import NOT_OF_THE_TEACHER
from odkd.common.ignore import IGNORE
from odkd.common.references import config_of
from odkd.config.construct import construct, resolve
from odkd.config.members import members_of, with_members
from odkd.config.teacher_classes import TeacherClasses
from odkd.data.labels.own_classes import OwnClasses

if TYPE_CHECKING:
    from odkd.teachers import Teacher
    from odkd.teachers.member import Member

logger = logging.getLogger(__name__)


def build_teacher(
    node: DictConfig, dataset: DictConfig, offered: Mapping[str, Any], allowed: list[str], place: str = "teacher"
) -> Teacher:
    """Build a teacher, and first its members.

    Args:
        node: its settings, whole.
        dataset: settings of the dataset; members are mapped to its classes.
        offered: what constructors may ask for by name.
        allowed: packages whose classes YAML may name.
        place: dotted key of the settings.

    Raises:
        ValueError: a mistake in the settings, weights or classes.
    """
    leave_out = tuple(key for key in NOT_OF_THE_TEACHER if key in node)
    if members := members_of(node):
        built = {
            name: _member(member, dataset, offered, allowed, f"{place}.members.{name}")
            for name, member in members.items()
        }
        seen = {int(new) for member in built.values() for new in member.ids}
        lacking = [str(name) for number, name in enumerate(dataset.classes) if number not in seen]
        if lacking and not node.allow_missing:
            raise ValueError(
                f"no member of teacher {node.name} labels {', '.join(lacking)} of the dataset; set "
                f"'{place}.members.NAME.classes={{ITS CLASS: DATASET CLASS}}', or {place}.allow_missing=true if they "
                "need not be labelled"
            )
        leave_out, offered = (*leave_out, "members"), {**offered, "members": built}
    teacher: Teacher = construct(node, leave_out, offered, allowed, place)
    return teacher


def _member(
    node: DictConfig, dataset: DictConfig, offered: Mapping[str, Any], allowed: list[str], place: str
) -> Member:
    """Build a member, and map its classes to the dataset's; those of the dataset that it lacks may be another's."""
    from odkd.teachers import class_names
    from odkd.teachers.member import Member

    classes: list[str] = list(dataset.classes)
    settings: Any = OmegaConf.to_container(node, resolve=True)
    alone = {"teacher": {**settings, "allow_missing": True}, "dataset": {"name": dataset.name, "classes": classes}}
    mapping = TeacherClasses(config_of(alone), classes)
    try:
        if mapping.said is not None:
            mapping.table(OwnClasses())  # before weights are downloaded
            offered = {**offered, "num_classes": len(mapping.said)}
        teacher = build_teacher(node, dataset, offered, allowed, place)
        table = mapping.table(OwnClasses(class_names(teacher), teacher.num_classes))
    except ValueError as error:  # constructors and mappings speak of `teacher`
        told = re.sub(rf"\bteacher\.({'|'.join(map(re.escape, map(str, node)))})\b", rf"{place}.\1", str(error))
        raise ValueError(told if place in told else f"{place}: {told}") from error
    if table is None:
        ids = np.arange(256)
        return Member(teacher, np.where(ids < len(classes), ids, IGNORE).astype(np.uint8), int(node.batch_size))
    if unused := table.sources(IGNORE):
        logger.info("%s: %s have no class of the dataset, and no vote", place, ", ".join(unused))
    return Member(teacher, table.ids, int(node.batch_size))


def needs_groundtruth(teacher: DictConfig, allowed: list[str]) -> bool:
    """Return True if a teacher, or a member of it, labels with the help of the ground truth."""
    return any(
        bool(getattr(resolve(node._target_, allowed, place), "needs_groundtruth", False))
        for place, node in with_members(teacher)
        if not members_of(node)  # the class of an ensemble has a property of this name
    )
