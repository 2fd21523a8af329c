"""What each part of a run must have: a class that YAML names, of the wrong kind, is one message before the run."""

import inspect
import typing
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from odkd.common.dotted import is_in
from odkd.config.roles import LAYERS, check_name, role_of
from odkd.runs.tracker import Tracker
from odkd.stages import Stage
from odkd.teachers import Teacher
from odkd.training.augment import Augmentation
from odkd.training.clock.timing import Timing
from odkd.training.features import FeatureLoss
from odkd.training.losses import HasParts, Loss
from odkd.training.pace import Pace
from odkd.training.regularizers import Regularizer
from odkd.training.replay import Replay
from odkd.training.updates import Selection

PROTOCOLS: dict[str, type] = {
    "stage": Stage,
    "teacher": Teacher,
    "loss": Loss,
    "features": FeatureLoss,
    "replay": Replay,
    "pace": Pace,
    "timing": Timing,
    "regularizer": Regularizer,
    "updates": Selection,
    "tracking": Tracker,
}
BASES: dict[str, type] = {
    "student": nn.Module,
    "optimizer": Optimizer,
    "schedule": LRScheduler,
    "augmentation": Augmentation,
    "dataset.prepare": Path,  # of the folder that a function has filled
}
# Members that a user-defined part may leave out.
OPTIONAL = {"traits", "classes", "sets_in_after_passes", "projection", "refine"}


def check_part(part: Any, group: str, target: str) -> None:
    """Check that an object is what its group must be.

    Args:
        part: as built.
        group: of the config, or a place in it such as tracking.tensorboard; one without an entry above is not checked.
        target: `_target_` of its config, for the message.

    Raises:
        ValueError: it lacks a member, or is no object of the base class.
    """
    place, group = group, role_of(group) or group  # a member of a teacher is a teacher
    base = BASES.get(group)
    if base is not None and not isinstance(part, base):
        raise ValueError(
            f"{place}._target_={target} makes a {type(part).__name__}; expected a {base.__module__}.{base.__name__}: "
            f"choose another {group}"
        )
    if group == "loss" and isinstance(part, HasParts):  # its parts are asked one by one
        return
    lacking = [name for name in members(PROTOCOLS[group]) if not hasattr(part, name)] if group in PROTOCOLS else []
    if lacking:
        protocol = PROTOCOLS[group]
        raise ValueError(
            f"{place}._target_={target} has no {' and no '.join(lacking)}; a {group} needs "
            f"{', '.join(members(protocol))}: see {protocol.__name__} in {protocol.__module__}"
        )


def members(protocol: type) -> list[str]:
    """Return the names of the attributes and methods that a protocol demands.

    >>> members(Replay)
    ['select', 'observe', 'kept', 'state_dict', 'load_state_dict']
    """
    names = [*inspect.get_annotations(protocol), *vars(protocol)]
    return [name for name in names if (name == "__call__" or not name.startswith("_")) and name not in OPTIONAL]


def check_role(found: Any, target: str, place: str, allowed: list[str]) -> None:
    """Check that a class or function is what its place takes, and is defined where its name says.

    A function is judged by what it says that it returns. A class of the user's own is checked when it is built.

    Raises:
        ValueError: it is something else.
    """
    check_name(f"{getattr(found, '__module__', '')}.{getattr(found, '__name__', '')}", place, allowed)
    if is_in(target, allowed):
        return
    role = role_of(place)
    assert role is not None
    made = found if inspect.isclass(found) else _returned(found)
    is_layer = role not in (place, "tracking") and is_in(target, [LAYERS]) and _is_a(made, nn.Module)
    if not (is_layer or fills(made, role)):
        expected = f"a class that makes a {(BASES.get(role) or PROTOCOLS[role]).__name__}"
        raise ValueError(f"{place}._target_={target} is not allowed: it is no {role}; expected {expected}")


def fills(made: Any, role: str) -> bool:
    """True if objects of a class can take a role: they are of its base class, or have its methods."""
    if role in BASES:
        return _is_a(made, BASES[role])
    methods = [name for name in members(PROTOCOLS[role]) if callable(getattr(PROTOCOLS[role], name, None))]
    return inspect.isclass(made) and all(callable(getattr(made, name, None)) for name in methods)


def _is_a(made: Any, base: type) -> bool:
    return inspect.isclass(made) and issubclass(made, base)


def _returned(function: Any) -> Any:
    """Return the class that a function says that it returns; None if it does not say."""
    try:
        return typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None
