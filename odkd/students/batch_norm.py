"""Batch norms that get one value a channel: a picture alone, pooled to 1 x 1 (DeepLabV3+, PAN, PSPNet, UPerNet).

One value has no variance, and torch refuses it while a network learns. Such a layer then normalizes by its running
statistics, as it does in evaluation mode, and leaves them as they are; its weight and bias learn.
"""

from types import MethodType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
    forward = type(module).forward
    if not (module.training and features.numel() == features.shape[1]):
        return forward(module, features, *rest)
    if MET in module.__dict__:
        module.__dict__[MET] = True
    module.training = False
    try:
        return forward(module, features, *rest)
    finally:
        module.training = True
