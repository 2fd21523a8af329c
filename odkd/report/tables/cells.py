"""The numbers of a table from stored runs: mean, sample standard deviation, count; missing and doubled runs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev

from odkd.common.metric_names import SUMMARY
from odkd.common.names import counted
from odkd.common.progress import tracked
from odkd.report.tables.profiles import number_in_profile
from odkd.report.tables.spec import Column, Row, Table, Variant
from odkd.report.tables.updates import count_updates
from odkd.report.tables.wanted import Matcher, WantedRun, join, wanted_settings
from odkd.runs.mlflow_store import StoredRun
from odkd.runs.profiles import PREFIX

UNSENT = "FINISHED without its summary, which odkd-sync sends"
History = Callable[[StoredRun, str], Mapping[int, float]]  # (run, metric) -> its values by step


@dataclass(frozen=True)
class Cell:
    """One number of the table: the defined values of its seeds, times the column's factor."""

    values: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return mean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """The sample standard deviation; NaN for fewer than two values."""
        return stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Missing:
    """A run that a cell needs and the store lacks; `status` is that of an unfinished run in the store, if any."""

    place: str
    job: WantedRun
    status: str | None = None


@dataclass(frozen=True)
class Doubled:
    """Several finished runs with the settings of one job, newest first."""

    place: str
    job: WantedRun
    runs: list[StoredRun]


@dataclass(frozen=True)
class Mixed:
    """Compared runs whose `tag` differs, so that they used different data, teachers or own code."""

    tag: str
    runs: list[tuple[str, WantedRun, StoredRun]]  # (place, job, run), newest first

    @property
    def outdated(self) -> list[WantedRun]:
        """The runs that differ from the newest."""
        newest = self.runs[0][2].tags[self.tag]
        return [job for _, job, run in self.runs if run.tags[self.tag] != newest]


@dataclass
class Filled:
    """A table filled from the store: cells by (row, variant, column), runs by job."""

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
        """Return the existing runs of a row, one per seed."""
        return [self.runs[job] for job in jobs_of(self.table, row, variant) if job in self.runs]


def jobs_of(table: Table, row: Row, variant: Variant) -> list[WantedRun]:
    """Return the runs that a row needs in a variant, one per seed."""
    # The overrides of the command line come last, because they win. They also come after `fixed`, so that in a
    # command they stand beside the overrides of all runs.
    overrides = join(table.fixed, table.chosen, row.overrides, variant.overrides, table.chosen)
    return [WantedRun(overrides, seed, table.config_dir) for seed in row.seeds or table.seeds]


def needs(table: Table) -> Iterator[tuple[Row, Variant, list[WantedRun]]]:
    """Yield all runs that the table needs, row by row; rows may share runs."""
    for row in table.rows:
        for variant in table.variants:
            yield row, variant, jobs_of(table, row, variant)


def fill(table: Table, runs: Sequence[StoredRun], history: History, *, newest: bool = False) -> Filled:
    """Look up every run of a table and its metrics.

    Args:
        table: whose cells are filled.
        runs: of the store.
        history: returns all values of one metric of a run.
        newest: use the newest of several finished runs with the same settings; otherwise they are doubled, and none
            of them counts.

    Raises:
        ValueError: no run has the metric of a column, or a run belongs to two places with different settings.
    """
    matcher, filled = Matcher(runs), Filled(table)
    looked_up: set[WantedRun] = set()
    users: dict[str, tuple[str, WantedRun]] = {}
    for row, variant, jobs in tracked(list(needs(table)), "looked up", "cells"):
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
    """Return the name of a row and variant in messages."""
    return ", ".join(part for part in (row.label, variant.label) if part)


def _has_summary(run: StoredRun) -> bool:
    return any(name.startswith(SUMMARY) for name in run.metrics)


def _check_shared(table: Table, run: StoredRun, one: tuple[str, WantedRun], other: tuple[str, WantedRun]) -> None:
    """Check that one run in two places has equal settings in both.

    Raises:
        ValueError: the settings differ, but the run does not record the setting that differs.
    """
    first, second = wanted_settings(one[1]), wanted_settings(other[1])
    if differ := first.untold(second):
        raise ValueError(
            f"table {table.name}: {one[0]} and {other[0]} differ in {' and '.join(differ)}, but the run {run.run_id} "
            "does not record it and may be of either; give each a different dataset.name to tell their runs apart"
        )


def mixed_runs(filled: Filled) -> list[Mixed]:
    """Return groups of compared runs that used different data, teachers or own code.

    Data must agree between runs of a variant with equal dataset settings, teachers and own code between the seeds of
    a row. A run that lacks a tag is not checked.
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
    """Return a run's number for a cell, before the column's factor; None if it is undefined."""
    metric = metric_of(column, row)
    if metric.startswith(PREFIX):
        return number_in_profile(run, metric)
    if column.take == "final":
        return run.final(metric)
    if column.take == "updates":
        return count_updates(run.params, lambda name: history(run, name), metric)
    found = list(history(run, metric).values())
    return median(found) if found else None


def metric_of(column: Column, row: Row) -> str:
    """Return the name of a column's metric in a row.

    >>> metric_of(Column("mIoU", "{of}/miou_groundtruth"), Row("MCKD", of="final"))
    'final/miou_groundtruth'
    """
    return (column.metric or "").replace("{of}", row.of)


def _check_metrics(filled: Filled) -> None:
    """Check that some run has the metric of each column: a misspelled metric would be an empty column."""
    known = {name.removeprefix(SUMMARY) for run in filled.runs.values() for name in run.metrics}
    for column in filled.table.columns:
        names = {metric_of(column, row) for row in filled.table.rows}
        cells = [cell for (_, _, label), cell in filled.cells.items() if label == column.label]
        if filled.runs and column.metric and not any(cell.values for cell in cells):
            if names & known or column.metric.startswith(PREFIX):
                continue
            near = difflib.get_close_matches(sorted(names)[0], sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"table {filled.table.name}: column {column.label} is {column.metric}, which none of its "
                f"{counted(len(filled.runs), 'run')} has{hint}"
            )
