"""Batch norms of a student: which statistics they normalize by, and layers that get one value a channel.

One value, of a picture alone that is pooled to 1 x 1 (DeepLabV3+, PAN, PSPNet, UPerNet), has no variance, and torch
refuses it while a network learns. Such a layer then normalizes by its running statistics, as in evaluation mode, and
leaves them as they are; its weight and bias learn.
"""

from types import MethodType
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Statistics = Literal["own", "frozen", "batch"]


def use_statistics(student: nn.Module, choice: Statistics) -> None:
    """Choose what those batch norms of a student that keep running statistics normalize by; their weights stay.

    Args:
        student: is changed in place.
        choice: "own": the images while it learns, the running statistics otherwise, as torch does; "frozen": always the
            running statistics of the initial weights, which stay as they are; "batch": always the images at hand.

    Raises:
        ValueError: no batch norm of the student keeps running statistics.
    """
    if choice == "own":
        return
    norms = [module for module in student.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        raise ValueError(
            f"student.statistics={choice}: no batch norm of this student keeps running statistics, so it always "
            "normalizes by the images at hand: set own"
        )
    for module in norms:  # bound methods, because a deep copy of the student binds them to the copy
        module.__dict__["forward"] = MethodType(_by_running if choice == "frozen" else _by_images, module)


def allow_one_value(student: nn.Module) -> None:
    """Have each batch norm of a student take one value a channel."""
    for module in student.modules():
        if isinstance(module, _BatchNorm) and "forward" not in module.__dict__:
            # A bound method, because a deep copy of the student binds it to the copy.
            module.__dict__["forward"] = MethodType(_forward, module)
            module.__dict__[MET] = False


def forget_unneeded(student: nn.Module) -> None:
    """Take `allow_one_value` back for the batch norms that have not met one value since."""
    for module in student.modules():
        if module.__dict__.pop(MET, None) is False:
            del module.__dict__["forward"]


MET = "_has_met_one_value"


def _forward(module: _BatchNorm, features: Tensor, *rest: Any) -> Tensor:
    if not (module.training and _has_one_value(features)):
        return type(module).forward(module, features, *rest)
    if MET in module.__dict__:
        module.__dict__[MET] = True
    return _by_running(module, features, *rest)


def _has_one_value(features: Tensor) -> bool:
    """True for one value a channel; from lengths alone, which a trace may ask for."""
    return len(features) == 1 and all(length == 1 for length in features.shape[2:])


def _by_running(module: _BatchNorm, features: Tensor, *rest: Any) -> Tensor:
    """Normalize by the running statistics, also while the student learns."""
    was_training, module.training = module.training, False
    try:
        return type(module).forward(module, features, *rest)
    finally:
        module.training = was_training


def _by_images(module: _BatchNorm, features: Tensor, *rest: Any) -> Tensor:
    """Normalize by the images, also in evaluation; one value a channel has only the running statistics."""
    if _has_one_value(features):
        return _by_running(module, features, *rest)
    if module.training:
        return type(module).forward(module, features, *rest)
    kept = module.running_mean, module.running_var
    module.running_mean = module.running_var = None  # torch then takes the images' statistics
    try:
        return type(module).forward(module, features, *rest)
    finally:
        module.running_mean, module.running_var = kept
