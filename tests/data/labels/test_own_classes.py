"""What a label store keeps of a teacher's classes, and what stores of an earlier version of odkd are trusted with."""

from typing import Any

import pytest

from odkd.data.labels.own_classes import OwnClasses

NAMES = ["road", "car"]


def old(target: str, label_set: object) -> dict[str, Any]:
    """Return a manifest as odkd wrote it when it kept the names of commands."""
    return {"classes": NAMES, "num_classes": 2, "recipe": {"teacher": {"_target_": target, "label_set": label_set}}}


@pytest.mark.parametrize("own", [OwnClasses(NAMES, 2), OwnClasses(None, 2), OwnClasses()])
def test_what_the_weights_say_is_read_back_whatever_the_command_said(own: OwnClasses) -> None:
    recipe = old("odkd.teachers.folder.FolderTeacher", "cityscapes")
    assert OwnClasses.stored(recipe | own.facts()) == own


def test_names_of_a_command_in_an_old_store_are_not_trusted() -> None:
    assert OwnClasses.stored(old("odkd.teachers.checkpoint.CheckpointTeacher", NAMES)) is None
    assert OwnClasses.stored(old("odkd.teachers.checkpoint.CheckpointTeacher", "cityscapes")) is None
    assert OwnClasses.stored(old("odkd.teachers.folder.FolderTeacher", None)) is None  # those of dataset.classes


def test_names_of_the_weights_in_an_old_store_are_trusted() -> None:
    assert OwnClasses.stored(old("odkd.teachers.checkpoint.CheckpointTeacher", None)) == OwnClasses(NAMES, 2)
    assert OwnClasses.stored({"classes": NAMES, "num_classes": 2}) == OwnClasses(NAMES, 2)  # a student's, for example
