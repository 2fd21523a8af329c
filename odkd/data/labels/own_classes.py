"""What a teacher's weights say of its classes: the only thing about classes that a label store keeps.

What a command says (`teacher.label_set`, `dataset.classes`) is in the run's key and not in the store, so that no
earlier command changes the result of a later one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SOURCE = "classes_from"  # key of a manifest; manifests of odkd before it may hold a command's names
WEIGHTS = "weights"


@dataclass(frozen=True)
class OwnClasses:
    """Names in the order of their ids, and the number of classes; None = the weights do not say."""

    names: list[str] | None = None
    number: int | None = None

    @classmethod
    def stored(cls, manifest: Mapping[str, Any]) -> "OwnClasses | None":
        """Return what a store's manifest has of the weights; None if it has a command's names instead.

        Manifests without `SOURCE` hold a command's names if it had a `teacher.label_set`, or for a folder of maps.
        """
        teacher = (manifest.get("recipe") or {}).get("teacher", {})
        is_of_command = teacher.get("label_set") is not None or is_folder(teacher)
        if manifest.get(SOURCE) != WEIGHTS and is_of_command:
            return None
        names = manifest.get("classes")
        return cls([str(name) for name in names] if names else None, manifest.get("num_classes"))

    def facts(self) -> dict[str, Any]:
        """Return the entries of a manifest."""
        return {"classes": self.names, "num_classes": self.number, SOURCE: WEIGHTS}


def is_folder(teacher: Mapping[str, Any]) -> bool:
    """True if the settings of a teacher name a folder of maps, which says nothing about its classes."""
    return str(teacher.get("_target_", "")).endswith(".FolderTeacher")


def refuse_one_output(number: int | None, whose: str) -> None:
    """Refuse a network with one output for two classes, whose likeliest class is its only one in every pixel.

    Args:
        number: of outputs; None if it is not known.
        whose: the network, for the message: "teacher mine", or the name of its file.

    Raises:
        ValueError: there is one.
    """
    if number == 1:
        raise ValueError(
            f"{whose} has one output for two classes; odkd needs one per class: give its last layer two, or export "
            "the two probabilities (1 - p, p) for teacher=exported"
        )
