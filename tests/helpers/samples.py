"""Samples of many cases of one kind: some in the default suite, all in the slow one."""

from collections.abc import Sequence
from typing import Any

import pytest


def one_of(every: int, cases: Sequence[Any]) -> list[Any]:
    """Return cases for `parametrize`: the first of each `every` cases as it is, the others marked as slow."""
    return [case if number % every == 0 else _slow(case) for number, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
