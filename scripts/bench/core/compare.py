"""Comparison of two files of results: what is slower or faster than before, beyond the spread of the repeats.

A quantity has up to two witnesses: its median, where both files are of one machine, and its ratio to the baseline that
was measured in the same rounds. A machine's speed drifts by more than most changes, and a baseline may share code with
what is measured; so a quantity counts as slower or faster only if all its witnesses say so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.machine import Load
from bench.core.report_file import Report
from bench.core.tables import Row, number

Verdict = Literal["slower", "faster", "with its baseline", "gone", "new", ""]
SINGLE = 1.25  # a quantity that was measured once has no spread: it must change by so many times
Name = tuple[str, str, str]  # case, size, quantity


@dataclass(frozen=True)
class Witness:
    """How many times as slow a quantity is as before, and whether the spreads of both lie apart."""

    factor: float
    is_beyond: bool

    @property
    def says(self) -> Literal["slower", "faster", ""]:
        if not self.is_beyond:
            return ""
        return "slower" if self.factor > 1 else "faster"


@dataclass(frozen=True)
class Change:
    """What has become of a quantity; `median` and `ratio` are None where they cannot be compared."""

    name: Name
    unit: str
    old: float | None
    new: float | None
    median: Witness | None
    ratio: Witness | None

    @property
    def verdict(self) -> Verdict:
        if self.old is None or self.new is None:
            return "new" if self.old is None else "gone"
        said = {witness.says for witness in (self.median, self.ratio) if witness is not None}
        if len(said) == 1:
            return said.pop()
        return "with its baseline" if self.median is not None and self.median.says else ""

    def is_slower_than(self, bound: float) -> bool:
        """True if it is slower, and every witness sees more than `bound` times the old."""
        witnesses = [witness for witness in (self.median, self.ratio) if witness is not None]
        return self.verdict == "slower" and all(witness.factor > bound for witness in witnesses)


def compare(old: Report, new: Report) -> list[Change]:
    """Return the changes of all quantities of the cases in both files, in the order of the new one."""
    changes = []
    for case in [case for case in new["cases"] if case in old["cases"]]:
        before, after = old["cases"][case], new["cases"][case]
        is_same = before["machine"] == after["machine"]
        olds, news = ({_name(r): r for r in run["results"]} for run in (before, after))
        for name in [*news, *(name for name in olds if name not in news)]:
            changes.append(_change(name, olds.get(name), news.get(name), is_same_machine=is_same))
    return changes


def remarks(old: Report, new: Report) -> Iterator[str]:
    """Yield what a reader of the comparison must know: other machines, quick or busy runs, cases in one file alone."""
    for case in sorted(old["cases"].keys() ^ new["cases"].keys()):
        yield f"{case}: only in the {'old' if case in old['cases'] else 'new'} file"
    for case in sorted(old["cases"].keys() & new["cases"].keys()):
        before, after = old["cases"][case], new["cases"][case]
        if before["machine"] != after["machine"]:
            yield f"{case}: of another machine; only ratios to baselines of the same run are compared"
        if before["versions"] != after["versions"]:
            tools = sorted(before["versions"].keys() | after["versions"].keys())
            pairs = [
                (tool, before["versions"].get(tool, "none"), after["versions"].get(tool, "none")) for tool in tools
            ]
            told = [f"{tool} {one} -> {other}" for tool, one, other in pairs if one != other]
            yield f"{case}: other versions: {', '.join(told)}"
        for which, run in (("old", before), ("new", after)):
            if run["quick"]:
                yield f"{case}: the {which} run was a quick one, which only shows that the case works"
    for which, cases in (("old", old["cases"]), ("new", new["cases"])):
        if busy := [case for case in sorted(cases) if Load(**cases[case]["load"]).warning]:
            yield f"the machine was busy in these cases of the {which} file: {', '.join(busy)}"


def change_rows(changes: Sequence[Change]) -> list[Row]:
    """Return a header and a row for each change; a factor beyond the spread is marked with *."""
    rows = [["case", "size", "quantity", "unit", "old", "new", "times as slow", "against its baseline", ""]]
    for change in changes:
        old, new = ("" if value is None else number(value) for value in (change.old, change.new))
        rows.append(
            [*change.name, change.unit, old, new, _factor(change.median), _factor(change.ratio), change.verdict]
        )
    return rows


def _factor(witness: Witness | None) -> str:
    return "" if witness is None else f"{witness.factor:.3f}{'*' if witness.is_beyond else ''}"


def _name(result: dict[str, Any]) -> Name:
    return result["case"], result["size"], result["quantity"]


def _change(name: Name, old: dict[str, Any] | None, new: dict[str, Any] | None, *, is_same_machine: bool) -> Change:
    unit = (new or old or {})["unit"]
    if old is None or new is None:
        before, after = (None if result is None else float(result["median"]) for result in (old, new))
        return Change(name, unit, before, after, None, None)
    higher = new["better"] == "higher"
    median = _witness(old, new, higher) if is_same_machine else None
    ratio = _witness(old["ratio"], new["ratio"], higher) if old["ratio"] and new["ratio"] else None
    return Change(name, unit, old["median"], new["median"], median, ratio)


def _witness(old: dict[str, Any], new: dict[str, Any], is_higher_better: bool) -> Witness | None:
    if old["median"] <= 0 or new["median"] <= 0:  # a difference may be nothing; it has no factor
        return None
    factor = old["median"] / new["median"] if is_higher_better else new["median"] / old["median"]
    spreads = [result["highest"] > result["lowest"] for result in (old, new)]
    margin = 1.0 if all(spreads) else SINGLE
    return Witness(factor, new["lowest"] > old["highest"] * margin or new["highest"] * margin < old["lowest"])
