"""Mistakes in what gives a network's input and output their meaning, in a new config and in a stored one alike."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.names import counted
from odkd.common.settings import check_rgb


def check_classes(dataset: DictConfig) -> None:
    """Check names of classes, their number, and their colours, of which null are default ones.

    Raises:
        ValueError: the first mistake.
    """
    if not (OmegaConf.is_list(dataset.classes) and all(isinstance(name, str) for name in dataset.classes)):
        raise ValueError(f"dataset.classes={dataset.classes}; expected a list of names, such as [road,car,person]")
    classes = list(dataset.classes)
    if nameless := [name for name in classes if not (name.strip() and name.isprintable())]:
        raise ValueError(f"dataset.classes has the name {nameless[0]!r:.80}; expected words of printable letters")
    if doubled := sorted({name for name in classes if classes.count(name) > 1}):
        raise ValueError(f"dataset.classes names {', '.join(doubled)} more than once")
    if not 2 <= len(classes) <= 180:
        raise ValueError(f"dataset.classes has {counted(len(classes), 'name')}; expected 2 to 180")
    if dataset.palette is not None:
        colours = [OmegaConf.to_container(c) if OmegaConf.is_list(c) else c for c in dataset.palette]
        is_rgb = [isinstance(c, list) and len(c) == 3 and all(v in range(256) for v in c) for c in colours]
        if len(colours) != len(classes) or not all(is_rgb):
            raise ValueError(f"dataset.palette={colours}; expected {len(classes)} colours [R, G, B] in 0..255, or null")


def check_normalization(group: str, settings: DictConfig) -> None:
    """Check the mean and standard deviation by which a student or teacher has images normalized; null is none.

    Raises:
        ValueError: they are no RGB in 0..1, or a student has one alone.
    """
    for name in ("mean", "std"):
        value: Any = settings.get(name)
        if value is not None:
            check_rgb(f"{group}.{name}", list(value) if OmegaConf.is_list(value) else value)
    if group == "student" and (settings.get("mean") is None) != (settings.get("std") is None):
        raise ValueError("student.mean and student.std go together; set both (RGB in 0..1) or neither")
