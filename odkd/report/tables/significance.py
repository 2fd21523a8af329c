"""Which differences of a table are larger than the spread over seeds allows, and how many seeds a difference needs.

Rows are compared with one of them, column by column, in pairs of runs with the same seed: a seed sets the student's
first weights and the order of the frames alike in both, so the spread of the differences is the one that counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TypeVar

from odkd.report.tables.cells import Cell, Filled
from odkd.report.tables.spec import Table

LEVEL = 0.05  # of a difference that is marked, after the correction for several rows
POWER = 0.8  # chance that the planned seeds show the difference
MOST_SEEDS = 1000
ROUNDING = 1e-9  # of a number that seeds do not change, relative
K = TypeVar("K")
Places = Mapping[tuple[str, str, str], "Difference"]  # (row, variant, column)


@dataclass(frozen=True)
class Difference:
    """How a row differs from the row that it is compared with.

    Args:
        values: of the seeds that both have, in the column's unit.
        p: of the paired t test, corrected; NaN where there is no spread to test against.
    """

    values: tuple[float, ...]
    p: float = math.nan

    @property
    def spread(self) -> float:
        """The sample standard deviation; 0 where only rounding differs, NaN for fewer than two values."""
        if len(self.values) < 2:
            return math.nan
        found = stdev(self.values)
        return found if found > ROUNDING * max(map(abs, self.values)) else 0.0

    @property
    def mark(self) -> str:
        """An arrow for a difference that is larger than the spread allows, else nothing."""
        return ("↑" if mean(self.values) > 0 else "↓") if self.p < LEVEL else ""


def compared(table: Table) -> str | None:
    """Return the label of the row that others are compared with; None = no comparison."""
    return table.compared_with if len(table.rows) > 1 else None


def differences(filled: Filled) -> Places:
    """Return all differences from the row that is compared with, by place.

    P values are of the two-sided paired t test, corrected over the rows of a column (Benjamini and Hochberg 1995).
    """
    table, found = filled.table, dict[tuple[str, str, str], Difference]()
    base = compared(table)
    for variant in table.variants if base is not None else ():
        for column in (column for column in table.columns if column.metric is not None):
            here = {
                row.label: _differences(filled, (row.label, variant.label, column.label), base)
                for row in table.rows
                if row.label != base
            }
            found |= {(label, variant.label, column.label): one for label, one in tested(here).items()}
    return found


def tested(here: Mapping[K, tuple[float, ...]]) -> dict[K, Difference]:
    """Return differences with their p values, corrected over all of them."""
    from scipy import stats

    testable = [label for label, values in here.items() if Difference(values).spread > 0]
    p_values = [float(stats.ttest_1samp(here[label], 0.0).pvalue) for label in testable]
    corrected = stats.false_discovery_control(p_values) if p_values else []
    p_of = dict(zip(testable, map(float, corrected), strict=True))
    return {label: Difference(values, p_of.get(label, math.nan)) for label, values in here.items() if values}


def seeds_needed(spread: float, difference: float) -> int | None:
    """Return how many seeds show a difference with a chance of `POWER`; None = more than `MOST_SEEDS`.

    The power is that of the two-sided paired t test, by the noncentral t distribution.

    Args:
        spread: sample standard deviation of the differences over seeds.
        difference: that is to be shown, in the same unit.

    >>> seeds_needed(1.0, 1.0), seeds_needed(0.3, 1.0)
    (10, 3)
    """
    from scipy import stats

    if not spread:
        return 2
    for number in range(2, MOST_SEEDS + 1):
        free, shift = number - 1, abs(difference) / spread * math.sqrt(number)
        border = stats.t.ppf(1 - LEVEL / 2, free)
        if stats.nct.sf(border, free, shift) + stats.nct.cdf(-border, free, shift) >= POWER:
            return number
    return None


def spread_range(count: int) -> tuple[float, float]:
    """Return the factors between which 90 % of true spreads lie, for a spread that was seen with so many seeds."""
    from scipy import stats

    free = count - 1
    low, high = (math.sqrt(free / stats.chi2.ppf(share, free)) for share in (0.95, 0.05))
    return low, high


def _differences(filled: Filled, place: tuple[str, str, str], base: str | None) -> tuple[float, ...]:
    one, other = (filled.cells.get(key, Cell()) for key in (place, (str(base), *place[1:])))
    known = dict(zip(other.seeds, other.values, strict=True))
    pairs = zip(one.seeds, one.values, strict=True)
    return tuple(value - known[seed] for seed, value in pairs if seed in known)
