"""Which classes YAML may name, and where: each place of a config has a role, such as replay or student.

YAML, stored configs and manifests may have been written by somebody else. They choose among the classes of a role,
which only compute; any other function could run a program or write a file. A class of the user's own is named only if
the command line allows its package (`allow_targets`, `config/permissions.py`).
"""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import is_in

PACKAGES: dict[str, tuple[str, ...]] = {  # place -> where the classes that it takes are defined
    "stage": ("odkd.stages",),
    "dataset.prepare": ("odkd.data.video.synthetic",),
    "teacher": ("odkd.teachers",),
    "student": ("odkd.students", "segmentation_models_pytorch", "torch.nn"),
    "replay": ("odkd.training.replay",),
    "pace": ("odkd.training.pace",),
    "timing": ("odkd.training.clock",),
    "regularizer": ("odkd.training.regularizers",),
    "updates": ("odkd.training.updates",),
    "loss": ("odkd.training.losses", "torch.nn", "segmentation_models_pytorch.losses"),
    "features": ("odkd.training.features", "torch.nn"),
    "optimizer": ("torch.optim",),
    "schedule": ("torch.optim.lr_scheduler", "odkd.training.one_cycle", "odkd.training.warmup"),
    "augmentation": ("odkd.training.augment",),
    "tracking": ("odkd.runs.trackers",),
}
LAYERS = "torch.nn"  # a class of any role may contain layers; trackers are no parts of a run


def targets(cfg: DictConfig) -> dict[str, str]:
    """Return every `_target_` of a config by its place, such as replay or loss.parts.kl."""
    nodes = class_nodes(OmegaConf.to_container(cfg, resolve=True))
    return {place: str(node["_target_"]) for place, node in nodes}


def class_nodes(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the content of each part of a plain config that names a class, at any depth."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield place, value
        for key, item in value.items():
            yield from class_nodes(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from class_nodes(item, f"{place}.{number}")


def role_of(place: str) -> str | None:
    """Return the role of a place, or of the object that it lies in; None where no class is expected.

    >>> role_of("loss.parts.kl"), role_of("window")
    ('loss', None)
    """
    return next((role for role in PACKAGES if f"{place}.".startswith(f"{role}.")), None)


def is_users(target: str) -> bool:
    """True if a class is not of odkd or one of its libraries."""
    return not is_in(target, [package for packages in PACKAGES.values() for package in packages])


def check_allowed(packages: Any) -> None:
    """Check the packages of `allow_targets`.

    Raises:
        ValueError: they are no list of names.
    """
    names = list(packages) if OmegaConf.is_list(packages) else [None]
    if not all(isinstance(name, str) and re.fullmatch(r"\w+(\.\w+)*", name) for name in names):
        raise ValueError(f"allow_targets={packages}; expected a list of packages, such as 'allow_targets=[my_lab]'")


def check_name(target: str, place: str, allowed: list[str]) -> None:
    """Check, before anything is imported, that a class may be named in a place.

    Args:
        target: its dotted name.
        place: dotted key of the config node that names it.
        allowed: the user's packages that may be named anywhere.

    Raises:
        ValueError: its package is none of those of the place's role.
    """
    if is_in(target, allowed):
        return
    role, where = role_of(place), f"{place}._target_={target} is not allowed"
    own = f"add 'allow_targets=[{target.partition('.')[0]}]' to the command if you trust that package"
    advice = f"; {own}" if is_users(target) and not is_in(target, ["odkd"]) else ""
    if role is None:
        raise ValueError(f"{where}: no class is expected there{advice}")
    may_contain = role not in (place, "tracking") and LAYERS not in PACKAGES[role]
    taken = (*PACKAGES[role], *([LAYERS] if may_contain else []))
    if not is_in(target, taken):
        raise ValueError(f"{where}: expected a class of {' or '.join(taken)}{advice}")
