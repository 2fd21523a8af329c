"""Learning rates of parts of a student: a factor of the optimizer's rate, by the names of parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from odkd.students.freezing import matching


def with_rates(
    student: nn.Module, rates: Mapping[str, float], rate: float, more: Sequence[nn.Parameter] = ()
) -> list[Any]:
    """Return what an optimizer takes as `params`: those that learn, in one group for each factor.

    Without rates this is a plain list. The group of the optimizer's own rate comes first; the others have their factor
    as "rate" too.

    Args:
        rates: name pattern -> factor; where several match, the last one counts.
        rate: of the optimizer.
        more: parameters outside the student; they have the optimizer's rate.

    Raises:
        ValueError: a pattern matches no parameter, or a factor of 0 is given: such parameters are frozen.
    """
    named = dict(student.named_parameters())
    learned = [parameter for parameter in named.values() if parameter.requires_grad]
    if not rates:
        return [*learned, *more]
    factors: dict[str, float] = {}
    for pattern, factor in rates.items():
        if factor == 0:
            raise ValueError(f"student.rates.{pattern}=0: nothing of it would learn; use 'student.freeze=[{pattern}]'")
        factors |= dict.fromkeys(matching(pattern, list(named), "student.rates"), float(factor))
    groups: dict[float, list[nn.Parameter]] = {1.0: [*more]}
    for name, parameter in named.items():
        if parameter.requires_grad:
            groups.setdefault(factors.get(name, 1.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate * factor, "rate": factor}
        for factor, parameters in groups.items()
        if parameters
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of an optimizer; its groups keep their factors of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate", 1.0)
