"""A comparison of runs: configurations with their seeds as one, effects of single settings, the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from odkd.report.entries import Entry, Measure
from odkd.runs.sweeps.summary import in_brief

MAX_LEVELS = 12  # most values of a factor that each get a place on an axis; more numbers are points along it
MIN_DIFFERENT = 0.75  # share of configurations with a unique value, from which values count as drawn, not chosen
MIN_DRAWN, MIN_TYPED = 3, 6  # fewest drawn values: numbers with more than four digits, and with up to four


@dataclass(frozen=True)
class Configuration:
    """Runs that differ only in their seeds; `levels` are their values of the factors, in the order of the factors."""

    number: int
    levels: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """The known values of the factors, as text."""
        return ", ".join(map(in_brief, filter(None, self.levels))) or "all runs"

    def statistics(self, measure: Measure) -> tuple[float, float, int]:
        """Return mean, sample standard deviation (NaN below two) and count over the runs where it is defined."""
        return statistics([measure(entry) for entry in self.entries])


@dataclass(frozen=True)
class Comparison:
    """Runs to compare; `factors` are the settings that differ: swept ones first, then others that separate runs."""

    entries: Sequence[Entry]
    factors: Sequence[str]
    configurations: Sequence[Configuration]

    def levels(self, factor: str, measure: Measure | None = None) -> list[str]:
        """Return the values of a factor in order; with `measure`, only those where it is known for some run."""
        index = self.factors.index(factor)
        known = [c for c in self.configurations if measure is None or c.statistics(measure)[2]]
        return in_order(configuration.levels[index] for configuration in known)

    def with_levels(self, wanted: Mapping[str, str]) -> list[Configuration]:
        """Return the configurations that have these values."""
        indices = {self.factors.index(factor): level for factor, level in wanted.items()}
        return [c for c in self.configurations if all(c.levels[i] == level for i, level in indices.items())]

    def effect(self, wanted: Mapping[str, str], measure: Measure) -> tuple[float, float, int]:
        """Return mean, sample standard deviation and count over all configurations that have these values.

        Each configuration counts with the mean over its seeds; the other factors may have any value.
        """
        return statistics([configuration.statistics(measure)[0] for configuration in self.with_levels(wanted)])

    def is_over_runs(self, factor: str, measure: Measure) -> bool:
        """True if each value of the factor has one configuration; then deviations are over its runs."""
        found = [c.levels[self.factors.index(factor)] for c in self.configurations if c.statistics(measure)[2]]
        return len(found) == len(set(found))

    def at_level(self, factor: str, level: str, measure: Measure) -> tuple[float, float, int]:
        """Return mean, sample standard deviation and count at a value of the factor.

        They are over the configurations with this value, or over runs if each value has one configuration.
        """
        if not self.is_over_runs(factor, measure):
            return self.effect({factor: level}, measure)
        return statistics([measure(entry) for c in self.with_levels({factor: level}) for entry in c.entries])

    def is_continuous(self, factor: str, measure: Measure | None = None) -> bool:
        """True if the values are points along an axis, as a search draws them, and not a few chosen ones.

        Continuous values are numbers, and more than `MAX_LEVELS` or nearly all different. In a grid no factor's
        values are, unless it is the only factor: then the numbers must have more digits than people type.
        """
        levels = self.levels(factor, measure)
        if any(as_number(level) is None for level in levels):
            return False
        count = sum(measure is None or c.statistics(measure)[2] > 0 for c in self.configurations)
        is_typed = 2 * sum(in_brief(level) != level for level in levels) < len(levels)
        if len(levels) > MAX_LEVELS:
            return True
        if len(levels) < MIN_DIFFERENT * count or (is_typed and len(self.factors) == 1):
            return False
        return len(levels) >= (MIN_TYPED if is_typed else MIN_DRAWN)


def in_order(levels: Iterable[str]) -> list[str]:
    """Return each value once: numbers sorted, other texts in the order of their first occurrence.

    >>> in_order(["12", "6", "12"]), in_order(["uniform", "fifo", "12"])
    (['6', '12'], ['uniform', 'fifo', '12'])
    """
    found = list(dict.fromkeys(levels))
    if all(as_number(level) is not None for level in found):
        found.sort(key=float)
    return found


def pareto(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Return the indices of the points that no other point beats in both, cheapest first: lower cost, higher score.

    >>> pareto([1.0, 2.0, 3.0, 2.5], [0.3, 0.5, 0.4, math.nan])
    [0, 1]
    """
    known = [i for i in range(len(costs)) if not math.isnan(costs[i] + scores[i])]
    front: list[int] = []
    for index in sorted(known, key=lambda i: (costs[i], -scores[i])):
        if not front or scores[index] > scores[front[-1]]:
            front.append(index)
    return front


def statistics(found: Sequence[float]) -> tuple[float, float, int]:
    """Return mean, sample standard deviation (NaN below two values) and count of the values that are not NaN.

    >>> statistics([1.0, 3.0, math.nan])
    (2.0, 1.4142135623730951, 2)
    """
    known = [value for value in found if not math.isnan(value)]
    return mean(known) if known else math.nan, stdev(known) if len(known) > 1 else math.nan, len(known)


def as_number(text: str) -> float | None:
    """Return the finite number that a text holds, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
