"""The numbers of a table from stored runs: mean, sample standard deviation, count; what is missing, doubled, mixed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev

from odkd.common.metric_names import SUMMARY
from odkd.report.tables.spec import Column, Row, Table, Variant
from odkd.report.tables.wanted import Matcher, WantedRun, join, wanted_settings
from odkd.runs.store import StoredRun

UNSENT = "FINISHED without its summary, which odkd-sync sends"
History = Callable[[StoredRun, str], Mapping[int, float]]  # of a run and a metric: its values by step


@dataclass(frozen=True)
class Cell:
    """One number of the table: values of its seeds, times the column's factor; undefined ones are left out."""

    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return mean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation; NaN of fewer than two values."""
        return stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Missing:
    """A run that a cell needs and the store lacks; `status` of one that is there, unfinished."""

    place: str
    job: WantedRun
    status: str | None = None


@dataclass(frozen=True)
class Doubled:
    """Several finished runs of one job, newest first."""

    place: str
    job: WantedRun
    runs: list[StoredRun]


@dataclass(frozen=True)
class Mixed:
    """Runs that are compared and should be of the same data, teacher or own code; a tag says that they are not."""

    tag: str
    runs: list[tuple[str, WantedRun, StoredRun]]  # with the place of each, newest first

    @property
    def of_others(self) -> list[WantedRun]:
        """The runs that are not as the newest."""
        newest = self.runs[0][2].tags[self.tag]
        return [job for _, job, run in self.runs if run.tags[self.tag] != newest]


@dataclass
class Filled:
    """A table with what the store knows: cells by (row, variant, column), runs by job."""

    table: Table
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    doubled: list[Doubled] = field(default_factory=list)
    mixed: list[Mixed] = field(default_factory=list)
    runs: dict[WantedRun, StoredRun] = field(default_factory=dict)

    @property
    def num_jobs(self) -> int:
        return len({job for _, _, jobs in needs(self.table) for job in jobs})

    def runs_of(self, row: Row, variant: Variant) -> list[StoredRun]:
        """The runs behind a row, one a seed, as far as they are there."""
        return [self.runs[job] for job in jobs_of(self.table, row, variant) if job in self.runs]


def jobs_of(table: Table, row: Row, variant: Variant) -> list[WantedRun]:
    """The runs that a row needs in a variant, one a seed."""
    # The command line's win; they are named first, too, so that they stand with those of all runs in a command.
    overrides = join(table.fixed, table.chosen, row.overrides, variant.overrides, table.chosen)
    return [WantedRun(overrides, seed, table.config_dir) for seed in row.seeds or table.seeds]


def needs(table: Table) -> Iterator[tuple[Row, Variant, list[WantedRun]]]:
    """Everything that the table needs, row by row; rows may share runs."""
    for row in table.rows:
        for variant in table.variants:
            yield row, variant, jobs_of(table, row, variant)


def fill(table: Table, runs: Sequence[StoredRun], history: History, *, newest: bool = False) -> Filled:
    """Look up every run of a table, and its metrics; `history` gives all values of one metric of a run.

    `newest`: of several finished runs with the same settings take the newest; else they are doubled, and none
    of them counts.

    Raises:
        ValueError: a column's metric is in none of the runs; one run would be in two places that are not the same.
    """
    matcher, filled = Matcher(runs), Filled(table)
    looked_up: set[WantedRun] = set()
    users: dict[str, tuple[str, WantedRun]] = {}
    for row, variant, jobs in needs(table):
        for job in jobs:
            if job in looked_up:
                continue
            looked_up.add(job)
            place = place_of(row, variant)
            found = matcher.find(job)
            for run in found:
                _check_shared(table, run, users.setdefault(run.run_id, (place, job)), (place, job))
            finished = [run for run in found if run.status == "FINISHED" and _has_summary(run)]
            if not finished:
                status = found[0].status if found else None
                filled.missing.append(Missing(place, job, UNSENT if status == "FINISHED" else status))
            elif len(finished) > 1 and not newest:
                filled.doubled.append(Doubled(place, job, finished))
            else:
                filled.runs[job] = finished[0]
        for column in table.columns:
            if column.metric is not None:
                values = [value_of(column, row, run, history) for run in filled.runs_of(row, variant)]
                known = tuple(column.factor * value for value in values if value is not None and not math.isnan(value))
                filled.cells[row.label, variant.label, column.label] = Cell(known)
    _check_metrics(filled)
    filled.mixed = mixed_runs(filled)
    return filled


def place_of(row: Row, variant: Variant) -> str:
    """Row and variant, as errors name them."""
    return ", ".join(part for part in (row.label, variant.label) if part)


def _has_summary(run: StoredRun) -> bool:
    return any(name.startswith(SUMMARY) for name in run.metrics)


def _check_shared(table: Table, run: StoredRun, one: tuple[str, WantedRun], other: tuple[str, WantedRun]) -> None:
    """One run may stand in two places if their commands are the same one in other words.

    Raises:
        ValueError: they are not, but by what they differ the run cannot be told.
    """
    first, second = wanted_settings(one[1]), wanted_settings(other[1])
    if differ := first.untold(second):
        raise ValueError(
            f"table {table.name}: {one[0]} and {other[0]} differ in {' and '.join(differ)}, but the run {run.run_id} "
            "may be of either; give each a dataset.name of its own, by which runs are told apart"
        )


def mixed_runs(filled: Filled) -> list[Mixed]:
    """Runs of a variant whose data differ though their settings of the data do not; seeds of a row whose teachers do,
    or one's own code. A run that lacks a tag says nothing.
    """
    groups: dict[tuple[object, ...], dict[str, tuple[str, WantedRun, StoredRun]]] = {}
    for row, variant, jobs in needs(filled.table):
        for job in jobs:
            run, values = filled.runs.get(job), wanted_settings(job).values
            if run is None:
                continue
            data, teacher = (
                frozenset((key, value) for key, value in values.items() if key.startswith(prefixes))
                for prefixes in (("dataset.",), ("dataset.", "teacher."))
            )
            scopes: dict[str, tuple[object, ...]] = {"odkd.dataset_digest": (variant.label, data)}
            if values.get("stage.uses_teacher") != "False":
                scopes["odkd.teacher_digest"] = (variant.label, row.label, teacher)
            scopes["odkd.code_digest"] = (variant.label, row.label)
            for tag, scope in scopes.items():
                if run.tags.get(tag):
                    groups.setdefault((tag, *scope), {})[run.run_id] = (place_of(row, variant), job, run)
    return [
        Mixed(str(tag), sorted(found.values(), key=lambda known: -known[2].started))
        for (tag, *_), found in groups.items()
        if len({run.tags[str(tag)] for _, _, run in found.values()}) > 1
    ]


def value_of(column: Column, row: Row, run: StoredRun, history: History) -> float | None:
    """A run's number for a cell, before its factor; None if it is undefined."""
    metric = metric_of(column, row)
    if column.take == "final":
        return run.final(metric)
    found = list(history(run, metric).values())
    return median(found) if found else None


def metric_of(column: Column, row: Row) -> str:
    """The name of a column's number in a row.

    >>> metric_of(Column("mIoU", "{of}/miou_groundtruth"), Row("MCKD", of="final"))
    'final/miou_groundtruth'
    """
    return (column.metric or "").replace("{of}", row.of)


def _check_metrics(filled: Filled) -> None:
    """A metric that no run has is a misspelled one: undefined in every row, it would be an empty column."""
    known = {name.removeprefix(SUMMARY) for run in filled.runs.values() for name in run.metrics}
    for column in filled.table.columns:
        names = {metric_of(column, row) for row in filled.table.rows}
        cells = [cell for (_, _, label), cell in filled.cells.items() if label == column.label]
        if filled.runs and column.metric and not any(cell.values for cell in cells):
            if names & known:
                continue
            near = difflib.get_close_matches(sorted(names)[0], sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"table {filled.table.name}: column {column.label} is {column.metric}, which none of its "
                f"{len(filled.runs)} runs has{hint}"
            )
