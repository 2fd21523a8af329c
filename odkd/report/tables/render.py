"""A filled table as Markdown and as CSV, and the columns that all formats share."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

from odkd.common.markdown import markdown_table
from odkd.common.names import counted
from odkd.report.tables.cells import Cell, Filled
from odkd.report.tables.profiles import profile_remarks
from odkd.report.tables.published import Published
from odkd.report.tables.significance import LEVEL, Places, compared, differences
from odkd.report.tables.spec import Column, Row, Variant

CSV_COLUMNS = ("variant", "column", "unit", "mean", "std", "n", "published", "trust", "p")  # after the row


@dataclass(frozen=True)
class Place:
    """A printed column: ours, or the published one."""

    variant: Variant
    column: Column
    is_ours: bool


def places(filled: Filled, published: Published | None) -> list[Place]:
    """Return the printed columns: each of ours, followed by the published one if that has any value."""
    table = filled.table
    found = []
    for variant in table.variants:
        for column in table.columns:
            if column.metric is not None:
                found.append(Place(variant, column, is_ours=True))
            values = (published.value(row.label, variant.label, column.label) for row in table.rows if published)
            if any(value is not None for value in values):
                found.append(Place(variant, column, is_ours=False))
    return found


def number(cell: Cell, digits: int) -> str:
    """Return `12.3 ± 0.4`; a single value has no spread, and an undefined cell is empty."""
    if not cell.values:
        return ""
    spread = "" if math.isnan(cell.std) else f" ± {cell.std:.{digits}f}"
    return f"{cell.mean:.{digits}f}{spread}"


def text_of(filled: Filled, published: Published | None, row: Row, place: Place, tests: Places) -> str:
    """Return the text of a cell: with its mark, and with its count of seeds if that differs from the row's."""
    variant, column = place.variant.label, place.column
    if not place.is_ours:
        value = published.value(row.label, variant, column.label) if published else None
        return "" if value is None else f"{value:.{column.digits}f}"
    cell = filled.cells[row.label, variant, column.label]
    differs = cell.values and cell.count != count_of(filled, row)
    mark = f" {found.mark}" if (found := tests.get((row.label, variant, column.label))) and found.mark else ""
    return number(cell, column.digits) + mark + (f" (n={cell.count})" if differs else "")


def count_of(filled: Filled, row: Row) -> int:
    """Return the number of seeds of a row: that of its fullest cell."""
    return max((cell.count for (label, _, _), cell in filled.cells.items() if label == row.label), default=0)


def remarks(filled: Filled, published: Published | None, tests: Places) -> list[str]:
    """Return the remarks below a table: seeds, missing runs, mixed runs, sources, and the notes of its YAML."""
    table = filled.table
    seeds = ", ".join(map(str, sorted({job.seed for job in filled.runs})))
    most = max((cell.count for cell in filled.cells.values()), default=0)
    found = [f"Mean ± sample standard deviation over n seeds ({seeds})."] if most > 1 else []
    if most == 1:
        found = [f"Single runs (n = 1, seed {seeds}): no deviation can be given."]
    if any(one.mark for one in tests.values()):
        found.append(
            f"↑ ↓: above or below {compared(table)} by more than the spread over seeds allows (paired t test, p < "
            f"{LEVEL:g}, corrected over the rows of a column)."
        )
    elif any(one.p == one.p for one in tests.values()):
        found.append(f"No difference from {compared(table)} is larger than the spread over seeds allows.")
    if filled.missing or filled.doubled:
        without = len(filled.missing) + len(filled.doubled)
        found.append(f"NOT COMPLETE: {without} of {counted(filled.num_jobs, 'run')} missing.")
    for mixed in filled.mixed:
        places = dict.fromkeys(place or "all" for place, _, _ in mixed.runs)
        number = len({run.tags[mixed.tag] for _, _, run in mixed.runs})
        found.append(f"NOT COMPARABLE: the runs of {'; '.join(places)} are of {number} different {mixed.tag}.")
    if published is not None:
        note = f" {table.published.note}" if table.published and table.published.note else ""
        found.append(f"{published.heading.capitalize()}: {published.source}.{note}")
    return [*found, *profile_remarks(table, filled.runs.values()), *table.notes]


def markdown(filled: Filled, published: Published | None) -> str:
    """Return a GitHub table with its title above and remarks below."""
    table, columns, tests = filled.table, places(filled, published), differences(filled)
    headings = [", ".join(filter(None, (heading(place, published), place.variant.label))) for place in columns]
    rows = []
    for row in table.rows:
        cells = [text_of(filled, published, row, place, tests) for place in columns]
        rows.append([row.label, *cells, str(count_of(filled, row))])
    lines = markdown_table([table.stub, *headings, "n"], rows)
    notes = "\n".join(f"* {remark}" for remark in remarks(filled, published, tests))
    return f"**{table.title}**\n\n{lines}\n\n{notes}\n"


def to_csv(filled: Filled, published: Published | None) -> str:
    """Return one line per cell, unrounded: row, variant, column, unit, mean, std, n, published, trust, p.

    `p` is that of the difference from the row that is compared with.
    """
    out, tests = io.StringIO(), differences(filled)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([filled.table.stub or "row", *CSV_COLUMNS])
    for row, variant, column in _cells(filled):
        cell = filled.cells.get((row.label, variant.label, column.label), Cell())
        value = published.value(row.label, variant.label, column.label) if published else None
        numbers = ["" if math.isnan(number) else repr(number) for number in (cell.mean, cell.std)]
        known = [] if value is None or published is None else [repr(value), published.trust]
        test = tests.get((row.label, variant.label, column.label))
        p = "" if test is None or math.isnan(test.p) else repr(test.p)
        writer.writerow(
            [row.label, variant.label, column.label, column.unit, *numbers, cell.count, *(known or ["", ""]), p]
        )
    return out.getvalue()


def _cells(filled: Filled) -> Iterator[tuple[Row, Variant, Column]]:
    table = filled.table
    for row in table.rows:
        for variant in table.variants:
            for column in table.columns:
                yield row, variant, column


def heading(place: Place, published: Published | None) -> str:
    """Return the heading of a column; a published one repeats the score only if there is no column of ours."""
    if place.is_ours or published is None:
        return place.column.heading
    return published.heading if place.column.metric else f"{place.column.heading}, {published.heading}"
