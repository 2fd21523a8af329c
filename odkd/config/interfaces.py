"""What each part of a run must have: a class that YAML names, of the wrong kind, is one message before the run."""

import inspect
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from odkd.stages import Stage
from odkd.teachers import Teacher
from odkd.training.augment import Augmentation
from odkd.training.losses import HasParts, Loss
from odkd.training.regularizers import Regularizer
from odkd.training.replay import Replay

PROTOCOLS: dict[str, type] = {
    "stage": Stage,
    "teacher": Teacher,
    "loss": Loss,
    "replay": Replay,
    "regularizer": Regularizer,
}
BASES: dict[str, type] = {
    "student": nn.Module,
    "optimizer": Optimizer,
    "schedule": LRScheduler,
    "augmentation": Augmentation,
}
OPTIONAL = {"traits", "classes", "sets_in_after_passes"}  # members that a user-defined part may leave out


def check_part(part: Any, group: str, target: str) -> None:
    """Check that an object is what its group must be.

    Args:
        part: as built.
        group: of the config; one without an entry above is not checked.
        target: `_target_` of its config, for the message.

    Raises:
        ValueError: it lacks a member, or is no object of the base class.
    """
    base = BASES.get(group)
    if base is not None and not isinstance(part, base):
        raise ValueError(
            f"{group}._target_={target} makes a {type(part).__name__}; expected a {base.__module__}.{base.__name__}: "
            f"choose another {group}"
        )
    if group == "loss" and isinstance(part, HasParts):  # its parts are asked one by one
        return
    lacking = [name for name in members(PROTOCOLS[group]) if not hasattr(part, name)] if group in PROTOCOLS else []
    if lacking:
        protocol = PROTOCOLS[group]
        raise ValueError(
            f"{group}._target_={target} has no {' and no '.join(lacking)}; a {group} needs "
            f"{', '.join(members(protocol))}: see {protocol.__name__} in {protocol.__module__}"
        )


def members(protocol: type) -> list[str]:
    """Return the names of the attributes and methods that a protocol demands.

    >>> members(Replay)
    ['select', 'observe', 'kept', 'state_dict', 'load_state_dict']
    """
    names = [*inspect.get_annotations(protocol), *vars(protocol)]
    return [name for name in names if (name == "__call__" or not name.startswith("_")) and name not in OPTIONAL]
