"""Filling a table from stored runs: each run is looked up, and its numbers are taken."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isnan
from statistics import median

from odkd.common.metric_names import SUMMARY
from odkd.common.names import counted
from odkd.common.progress import tracked
from odkd.report.tables.cells import Cell, Doubled, Filled, Missing, Mixed, needs, place_of
from odkd.report.tables.costs import cost_in_run
from odkd.report.tables.profiles import number_in_profile
from odkd.report.tables.spec import Column, Row, Table
from odkd.report.tables.updates import count_updates
from odkd.report.tables.wanted import Matcher, WantedRun, wanted_settings
from odkd.runs.cost_numbers import PREFIX as COSTS
from odkd.runs.mlflow_store import StoredRun
from odkd.runs.profiles import PREFIX

UNSENT = "FINISHED without its summary, which odkd-sync sends"
History = Callable[[StoredRun, str], Mapping[int, float]]  # (run, metric) -> its values by step


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
                by_seed = {s: value_of(column, row, run, history) for s, run in filled.runs_of(row, variant).items()}
                known = {
                    s: column.factor * value for s, value in by_seed.items() if not (value is None or isnan(value))
                }
                filled.cells[row.label, variant.label, column.label] = Cell(tuple(known.values()), tuple(known))
    _check_metrics(filled)
    _divide(filled)
    filled.mixed = mixed_runs(filled)
    return filled


def _divide(filled: Filled) -> None:
    """Divide the values of relative columns by those of the row that others are compared with, seed by seed."""
    table = filled.table
    for variant, column in itertools.product(table.variants, (column for column in table.columns if column.relative)):
        base = filled.cells[str(table.compared_with), variant.label, column.label]
        known = {seed: value for seed, value in zip(base.seeds, base.values, strict=True) if value}
        for row in table.rows:
            cell = filled.cells[row.label, variant.label, column.label]
            pairs = [(s, value / known[s]) for s, value in zip(cell.seeds, cell.values, strict=True) if s in known]
            values, seeds = tuple(value for _, value in pairs), tuple(seed for seed, _ in pairs)
            filled.cells[row.label, variant.label, column.label] = Cell(values, seeds)


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
    if metric.startswith(COSTS):
        return cost_in_run(run, metric, partial(history, run))
    if column.take == "final":
        return run.final(metric)
    if column.take == "updates":
        return count_updates(run.params, partial(history, run), metric)
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
            if names & known or column.metric.startswith((PREFIX, COSTS)):
                continue
            near = difflib.get_close_matches(sorted(names)[0], sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"table {filled.table.name}: column {column.label} is {column.metric}, which none of its "
                f"{counted(len(filled.runs), 'run')} has{hint}"
            )
