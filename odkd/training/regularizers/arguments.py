"""What a regularizer checks of its arguments at construction."""

import math
from collections.abc import Sequence


def check_number(name: str, value: float, *, low: float = 0, high: float = math.inf) -> None:
    """Raises ValueError unless `low` <= `value` <= `high`."""
    if type(value) not in (int, float) or not low <= value <= high:
        expected = f"at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"
        raise ValueError(f"regularizer.{name}={value}; expected {expected}")


def check_whole(name: str, value: int, *, low: int = 0) -> None:
    """Raises ValueError unless `value` is a whole number of at least `low`."""
    if type(value) is not int or value < low:
        raise ValueError(f"regularizer.{name}={value}; expected a whole number of at least {low}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless 0 < `value` < infinity."""
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"regularizer.{name}={value}; expected a number above 0")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"regularizer.{name}={value}; expected {' or '.join(choices)}")
