"""The factors of a comparison: find the settings that differ between runs, and group the runs by them."""

from __future__ import annotations

from collections.abc import Sequence

from odkd.common.dotted import is_in
from odkd.report.comparison import Comparison, Configuration, in_order
from odkd.report.entries import CONTENT, Entry
from odkd.report.settings import NO_DIFFERENCE

NOT_COMPARED = (*NO_DIFFERENCE, "seed", "run.repeat")  # the last two are repetitions


def compare(entries: Sequence[Entry]) -> Comparison:
    """Find the settings that differ between runs; runs that differ only in seeds are one configuration.

    Factors are all overrides whose values differ, except those that belong to a choice (`replay.capacity` that
    only some replays have). Other settings follow from them (`replay.capacity` is `window.learn`) or come from an
    experiment file: those are factors if they separate runs that the factors before them do not.
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


def _asked_for(entries: Sequence[Entry]) -> list[str]:
    """Return the keys of all overrides, except the seed and those that do not change results."""
    keys = dict.fromkeys(key for entry in entries for key in entry.overrides)
    return [key for key in keys if not is_in(key, (*NOT_COMPARED, "hydra"))]


def _candidates(entries: Sequence[Entry]) -> list[str]:
    """Return the groups whose choice differs, then single settings that differ, without the folder of the data."""
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
    """True if the factors determine the candidate's value."""
    known: dict[tuple[str, ...], str] = {}
    return all(
        known.setdefault(tuple(entry.value(factor) for factor in factors), entry.value(candidate))
        == entry.value(candidate)
        for entry in entries
    )
