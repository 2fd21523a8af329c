"""What differs between runs, and what follows from it: factors, configurations with their seeds as one, effects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from odkd.common.dotted import is_in, split_override
from odkd.report import mean_speeds, values
from odkd.report.settings import NO_DIFFERENCE, class_name, overrides_of, settings_of
from odkd.runs.results import Run, read_run
from odkd.runs.sweeps.summary import in_brief

Measure = Callable[["Entry"], float]

KEPT = {  # metrics of an iteration that a page shows; all others of a thousand runs would not fit into memory
    *("test/miou", "test/miou_groundtruth"),
    *(f"time/{part}_{what}" for part in ("learn", "evaluate") for what in ("seconds", "frames_per_second")),
}
NOT_COMPARED = (*NO_DIFFERENCE, "seed", "run.repeat")  # the last two are repetitions
CONTENT = {  # what no setting says -> the tag with its digest; none depends on the run's seed
    "data": "odkd.dataset_digest",
    "true labels": "odkd.groundtruth_digest",
    "teacher's identity": "odkd.teacher_digest",
    "own code": "odkd.code_digest",
}
MAX_DIGITS = 6  # of a digest
MAX_LEVELS = 12  # values of a factor up to which each has its place on an axis; more numbers are points along it
MIN_DIFFERENT = (
    0.75  # share of configurations with a value of their own, from which on the values were drawn, not chosen
)
MIN_DRAWN, MIN_TYPED = 3, 6  # such values, with more than four digits or with fewer


@dataclass(frozen=True)
class Entry:
    """A run with its settings by dotted key, and its overrides by key without Hydra's marks."""

    run: Run
    settings: Mapping[str, str]
    overrides: Mapping[str, str]

    @classmethod
    def read(cls, run_folder: Path) -> Entry:
        """With the `KEPT` metrics alone. Raises ValueError if this is no run folder."""
        run = read_run(run_folder)
        lines = [
            line | {"metrics": {key: value for key, value in line["metrics"].items() if key in KEPT}}
            for line in run.metrics
        ]
        run = replace(run, metrics=lines, system=[])
        given = map(split_override, overrides_of(run))
        return cls(run, settings_of(run), {key.partition("@")[0]: value for key, value in given})

    def value(self, factor: str) -> str:
        """Of a setting, the choice of a group, a digest of `CONTENT` with its name, which makes it a word and no
        number; "" where the run has no such thing, or it is null."""
        if factor in CONTENT:
            digest = self.run.tags.get(CONTENT[factor], "")
            return f"{factor} {digest[:MAX_DIGITS]}" if digest else ""
        if factor in self.settings:
            return "" if self.settings[factor] == "null" else self.settings[factor]
        if factor in self.overrides:
            return self.overrides[factor]
        name, target = self.settings.get(f"{factor}.name"), self.settings.get(f"{factor}._target_")
        return name or (class_name(target) if target else "")

    def score(self, key: str) -> float:
        """Of the summary; NaN where it is unknown or undefined."""
        value = self.run.summary.get(key)
        return math.nan if value is None else value

    @property
    def is_reference(self) -> bool:
        """Whether the teacher was scored in a student's place: that its score is high says nothing."""
        return self.settings.get("evaluation.predictor") == "teacher"

    @cached_property
    def learn_seconds(self) -> float:
        """Of all learning; NaN where no timing is known."""
        found = values(self.run.metrics, "time/learn_seconds")
        return float(np.nansum(found)) if np.isfinite(found).any() else math.nan

    @cached_property
    def evaluate_milliseconds(self) -> float:
        """A frame, of evaluation; NaN where no timing is known."""
        speed = mean_speeds(self.run.metrics).get("evaluation", 0.0)
        return 1000 / speed if speed else math.nan


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in nothing but their seeds; `levels` are its values of the factors, in their order."""

    number: int
    levels: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """Its values of the factors, as far as it has any."""
        return ", ".join(map(in_brief, filter(None, self.levels))) or "all runs"

    def statistics(self, measure: Measure) -> tuple[float, float, int]:
        """Mean, sample standard deviation (NaN below two) and count over the runs where it is defined."""
        return statistics([measure(entry) for entry in self.entries])


@dataclass(frozen=True)
class Comparison:
    """`factors` are what differs: swept settings first, then other settings that tell configurations apart."""

    entries: Sequence[Entry]
    factors: Sequence[str]
    configurations: Sequence[Configuration]

    def levels(self, factor: str, measure: Measure | None = None) -> list[str]:
        """Its values in order, numbers by size, words as they came; those for which `measure` is known of any run."""
        index = self.factors.index(factor)
        known = [c for c in self.configurations if measure is None or c.statistics(measure)[2]]
        return in_order(configuration.levels[index] for configuration in known)

    def with_levels(self, wanted: Mapping[str, str]) -> list[Configuration]:
        """Configurations that have these values."""
        indices = {self.factors.index(factor): level for factor, level in wanted.items()}
        return [c for c in self.configurations if all(c.levels[i] == level for i, level in indices.items())]

    def effect(self, wanted: Mapping[str, str], measure: Measure) -> tuple[float, float, int]:
        """Mean, sample standard deviation and count over all configurations (each the mean of its seeds) that have
        these values, whatever the other factors are."""
        return statistics([configuration.statistics(measure)[0] for configuration in self.with_levels(wanted)])

    def is_over_runs(self, factor: str, measure: Measure) -> bool:
        """Whether each value of the factor has one configuration: what varies there are its runs."""
        found = [c.levels[self.factors.index(factor)] for c in self.configurations if c.statistics(measure)[2]]
        return len(found) == len(set(found))

    def at_level(self, factor: str, level: str, measure: Measure) -> tuple[float, float, int]:
        """Mean, sample standard deviation and count over the configurations with this value of the factor, or over
        the runs of the one configuration where no value has more."""
        if not self.is_over_runs(factor, measure):
            return self.effect({factor: level}, measure)
        return statistics([measure(entry) for c in self.with_levels({factor: level}) for entry in c.entries])

    def is_continuous(self, factor: str, measure: Measure | None = None) -> bool:
        """Whether its values are points along an axis, as a search draws them, and not a few that were chosen.

        They are numbers; more than `MAX_LEVELS`, or nearly all different. In a grid no factor's values are, unless it
        has this one factor: then the numbers must have more digits than people type.
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


def compare(entries: Sequence[Entry]) -> Comparison:
    """Finds what differs between runs and makes one configuration of those that differ in seeds alone.

    Factors are all overrides whose values differ, but for those that belong to a choice (`replay.capacity` that
    only some replays have). Other settings follow from them (`replay.capacity` is `window.learn`) or are what an
    experiment file set: those are factors as long as they tell runs apart that the factors before them do not.
    """
    asked_for = [factor for factor in _asked_for(entries) if _differs(entries, factor)]
    groups = [factor for factor in asked_for if "." not in factor]
    factors = [f for f in asked_for if not (_is_part_of(f, groups) and _follows(entries, groups, f))]
    for candidate in (*_candidates(entries), *CONTENT):
        if candidate not in factors and not _follows(entries, factors, candidate):
            factors.append(candidate)
    grouped: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(tuple(entry.value(factor) for factor in factors), []).append(entry)
    ranks = [{level: rank for rank, level in enumerate(in_order(found))} for found in zip(*grouped, strict=True)]
    ordered = sorted(grouped, key=lambda levels: [rank[level] for rank, level in zip(ranks, levels, strict=True)])
    return Comparison(entries, factors, [Configuration(n, c, tuple(grouped[c])) for n, c in enumerate(ordered, 1)])


def in_order(levels: Iterable[str]) -> list[str]:
    """Each value once: numbers by size, words as they came.

    >>> in_order(["12", "6", "12"]), in_order(["uniform", "fifo", "12"])
    (['6', '12'], ['uniform', 'fifo', '12'])
    """
    found = list(dict.fromkeys(levels))
    if all(as_number(level) is not None for level in found):
        found.sort(key=float)
    return found


def pareto(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Indices of points that no other point beats in both, cheapest first: less cost, higher score.

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
    """Mean, sample standard deviation (NaN below two values) and count of what is not NaN.

    >>> statistics([1.0, 3.0, math.nan])
    (2.0, 1.4142135623730951, 2)
    """
    known = [value for value in found if not math.isnan(value)]
    return mean(known) if known else math.nan, stdev(known) if len(known) > 1 else math.nan, len(known)


def as_number(text: str) -> float | None:
    """The finite number that a level is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _asked_for(entries: Sequence[Entry]) -> list[str]:
    """Keys of all overrides, without where results lie and which seed."""
    keys = dict.fromkeys(key for entry in entries for key in entry.overrides)
    return [key for key in keys if not is_in(key, (*NOT_COMPARED, "hydra"))]


def _candidates(entries: Sequence[Entry]) -> list[str]:
    """Groups whose choice differs, then single settings that differ; where the data lie says nothing by itself."""
    places = (*NOT_COMPARED, "dataset.root")
    keys = dict.fromkeys(key for entry in entries for key in entry.settings if not is_in(key, places))
    differing = [key for key in keys if _differs(entries, key)]
    groups = dict.fromkeys(key.partition(".")[0] for key in differing if key.endswith(("._target_", ".name")))
    return [*(group for group in groups if _differs(entries, group)), *differing]


def _differs(entries: Sequence[Entry], factor: str) -> bool:
    return len({entry.value(factor) for entry in entries}) > 1


def _is_part_of(key: str, groups: Sequence[str]) -> bool:
    return any(key.startswith(f"{group}.") for group in groups)


def _follows(entries: Sequence[Entry], factors: Sequence[str], candidate: str) -> bool:
    """Whether the factors determine the candidate's value."""
    known: dict[tuple[str, ...], str] = {}
    return all(
        known.setdefault(tuple(entry.value(factor) for factor in factors), entry.value(candidate))
        == entry.value(candidate)
        for entry in entries
    )
