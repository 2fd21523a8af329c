"""What a regularizer checks of its arguments at construction."""

import math
from collections.abc import Sequence


def check_number(name: str, value: float, *, low: float = 0, high: float = math.inf) -> None:
    """Raises ValueError unless `low` <= `value` <= `high`."""
    if not low <= value <= high:
        expected = f"at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"
        raise ValueError(f"regularizer.{name}={value}; expected {expected}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless 0 < `value` < infinity."""
    if not 0 < value < math.inf:
        raise ValueError(f"regularizer.{name}={value}; expected a number above 0")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"regularizer.{name}={value}; expected {' or '.join(choices)}")
