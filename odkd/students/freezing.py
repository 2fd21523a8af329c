"""Freezing parts of a student by the names of its parameters."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from types import MethodType

from torch import nn


def freeze(student: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose names match any of `patterns` (`*` and `?` as in file names): they get no gradient.

    Modules whose parameters are all frozen go into eval mode and stay in it while the student learns: batch norms keep
    their statistics, dropout is off.

    Raises:
        ValueError: a pattern matches nothing, or everything is frozen.
    """
    parameters = dict(student.named_parameters())
    for pattern in patterns:
        for name in matching(pattern, list(parameters), "student.freeze"):
            parameters[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError(f"student.freeze={', '.join(patterns)} leaves nothing to learn; freeze less")
    if patterns:
        _keep_in_eval_mode(student)


def matching(pattern: str, names: Sequence[str], setting: str) -> list[str]:
    """Return the names of parameters that match a pattern of a setting (`*` and `?` as in file names).

    Raises:
        ValueError: none does.
    """
    matched = [name for name in names if fnmatchcase(name, pattern)]
    if not matched:
        raise ValueError(f"{setting}={pattern} matches no parameter; {_nearest(pattern, list(names))}")
    return matched


def _keep_in_eval_mode(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        # A bound method, because a deep copy of the student binds it to the copy.
        module.__dict__["train"] = MethodType(_stay, module)
        return
    for child in module.children():
        _keep_in_eval_mode(child)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    del mode  # in place of `train`: a frozen module stays in eval mode
    return module


def _nearest(pattern: str, names: list[str]) -> str:
    """Return the groups and names nearest to a pattern, or else all groups."""
    groups = list(dict.fromkeys(name.rpartition(".")[0].split(".")[0] + ".*" for name in names if "." in name))
    found = difflib.get_close_matches(pattern, [*groups, *names], n=3, cutoff=0.5)
    return f"nearest are {', '.join(found)}" if found else f"there are {', '.join(groups or names)}"
