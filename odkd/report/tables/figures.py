"""Console script `odkd-figures`: draw a table's figures from the runs in the MLflow store, as PDF and PNG."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.arguments import Arguments
from odkd.common.console import say
from odkd.report import without_time
from odkd.report.paper import MAX_CURVES, Curve, by_setting_figure, over_time_figure, save_figure
from odkd.report.tables.cells import Filled
from odkd.report.tables.command import add_choices, check_complete, listing, obey, with_choices
from odkd.report.tables.front_of_table import front_of_table
from odkd.report.tables.spec import Column, Row, Table, Variant, load_table
from odkd.report.tables.stores import look_up, outputs_folder
from odkd.runs.folder_store import AnyStore
from odkd.runs.mlflow_store import StoredRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEYS = {
    "over_time": {"kind", "metric", "label", "rows"},
    "by_row": {"kind", "columns", "axis"},
    "pareto": {"kind", "cost", "score", "rows", "families"},
}
OPTIONAL = {"rows", "families"}
SHARES = ("miou", "iou", "accuracy", "consistency")  # in the names of scores between 0 and 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit code 1 if runs are missing or doubled, 2 for a user's mistake."""
    parser = Arguments("odkd-figures", description=__doc__)
    add_choices(parser)
    parser.add_argument("--only", nargs="+", metavar="FIGURE", help="draw only these figures of the table")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: figures/ in paths.outputs")
    chosen = parser.parse_intermixed_args(arguments)
    obey(chosen, make, lambda: say(listing(with_figures=True)))


def make(chosen: argparse.Namespace) -> None:
    """Draw the chosen figures of a table."""
    table = with_choices(load_table(chosen.name), chosen)
    names = chosen.only or list(table.figures)
    for name in names:
        if name not in table.figures:
            raise ValueError(f"table {table.name} has no figure {name}; it has {', '.join(table.figures) or 'none'}")
        check_figure(table, name, table.figures[name])
    filled, store = look_up(table, chosen)
    check_complete(filled, chosen)
    folder = chosen.output or outputs_folder(chosen) / "figures"
    for name in names:
        for variant, figure in draw(filled, store, table.figures[name]):
            words = [table.name, name, variant.label]
            stem = folder / "_".join(re.sub(r"\W+", "_", word) for word in words if word)
            say("\n".join(map(str, save_figure(figure, stem))))


def check_figure(table: Table, name: str, asked: Mapping[str, Any]) -> None:
    """Raise ValueError if the YAML of a figure has an unknown or missing key, row or column."""
    known = KEYS.get(str(asked.get("kind")))
    if known is None:
        raise ValueError(f"table {table.name}: figures.{name}.kind is {asked.get('kind')!r}; one of {', '.join(KEYS)}")
    if wrong := (set(asked) - known) | (known - OPTIONAL - set(asked)):
        raise ValueError(f"table {table.name}: figures.{name} has or lacks {sorted(wrong)[0]}; keys: {sorted(known)}")
    parts = {"rows": [row.label for row in table.rows], "columns": [column.label for column in table.columns]}
    for key, labels in parts.items():
        if unknown := [label for label in asked.get(key, []) if label not in labels]:
            raise ValueError(f"table {table.name}: figures.{name}.{key}: there is no {unknown[0]}")
    for key in ("cost", "score"):
        if key in asked and asked[key] not in parts["columns"]:
            raise ValueError(f"table {table.name}: figures.{name}.{key}: there is no column {asked[key]}")


def draw(filled: Filled, store: AnyStore | None, asked: Mapping[str, Any]) -> Iterator[tuple[Variant, Figure]]:
    """Yield one figure for each variant, or one for all variants (kinds by_row and pareto)."""
    seeds = max((cell.count for cell in filled.cells.values()), default=0)
    if asked["kind"] == "by_row":
        figure = by_row(filled, asked, f"bars: ± sample standard deviation over {seeds} seeds" if seeds > 1 else "")
        yield Variant(), figure
        return
    note = f"mean and sample standard deviation over {seeds} seeds" if seeds > 1 else ""
    if asked["kind"] == "pareto":
        yield Variant(), front_of_table(filled, asked, note)
        return
    for variant in filled.table.variants:
        if store is not None:
            yield variant, over_time(filled, store, variant, asked, note)


def over_time(filled: Filled, store: AnyStore, variant: Variant, asked: Mapping[str, Any], note: str) -> Figure:
    """Draw a score of each iteration, with one curve per row and one panel per metric.

    Raises:
        ValueError: no row has a run, or there are too many rows for one figure.
    """
    wanted = asked.get("rows") or [row.label for row in filled.table.rows]
    found = [(row, list(filled.runs_of(row, variant).values())) for row in filled.table.rows if row.label in wanted]
    rows = [(row, runs) for row, runs in found if runs]
    if not rows:
        raise ValueError(f"table {filled.table.name}: none of {', '.join(wanted)} has a run {variant.label}".rstrip())
    if len(rows) > MAX_CURVES:
        raise ValueError(f"table {filled.table.name}: {len(rows)} curves in a figure; name at most {MAX_CURVES} rows")
    metrics, labels = (value if isinstance(value, list) else [value] for value in (asked["metric"], asked["label"]))
    styles = styles_of(filled.table)
    panels = [
        (
            label_of(label, unit_of(metric)),
            [curve(store, name_of(filled.table, row), runs, metric, styles[row.label]) for row, runs in rows],
        )
        for metric, label in zip(metrics, labels, strict=True)
    ]
    lines = stream_lines(store, rows[0][1][0])
    title = ", ".join(part for part in (filled.table.title, variant.label) if part)
    return over_time_figure(lines, panels, title, note)


def styles_of(table: Table) -> dict[str, int]:
    """Return a style number for each drawn row, so that a row looks the same in all figures of the table."""
    everything = [row.label for row in table.rows]
    drawn = {label for asked in table.figures.values() for label in asked.get("rows") or everything}
    return {label: number for number, label in enumerate(label for label in everything if label in drawn)}


def name_of(table: Table, row: Row) -> str:
    """Return the label of a row; a number is followed by what it counts."""
    return f"{row.label} {table.stub}".rstrip() if row.label[0].isdigit() else row.label


def unit_of(metric: str) -> str:
    """Return the unit of a metric: "%" for scores, "s" for seconds, "" for others such as losses.

    >>> unit_of("test/miou"), unit_of("test/iou/car"), unit_of("time/learn_seconds"), unit_of("learn/loss_total")
    ('%', '%', 's', '')
    """
    if any(re.match(rf"({'|'.join(SHARES)})(_|$)", part) for part in metric.split("/")):
        return "%"
    return "s" if "seconds" in metric else ""


def label_of(name: str, unit: str) -> str:
    """Return the label of an axis, with the unit in brackets if there is one.

    >>> label_of("mIoU", "%"), label_of("loss", "")
    ('mIoU (%)', 'loss')
    """
    return f"{name} ({unit})" if unit else name


def curve(store: AnyStore, label: str, runs: Sequence[StoredRun], metric: str, style: int) -> Curve:
    """Return a metric of a row's runs over positions in the stream; scores are in per cent."""
    factor = 100 if unit_of(metric) == "%" else 1
    positions = store.history(runs[0], "stream/position")
    found = [store.history(run, metric) for run in runs]
    values = [[factor * values.get(step, np.nan) for step in positions] for values in found]
    return Curve(label, list(positions.values()), np.array(values, dtype=np.float64), style)


def stream_lines(store: AnyStore, run: StoredRun) -> list[dict[str, Any]]:
    """Return position and time of each iteration; also its domain, if MLflow has the run's files."""
    if lines := store.lines(run):
        return without_time(lines) if "dataset.pictures" in run.params else lines
    positions, seconds = store.history(run, "stream/position"), store.history(run, "stream/seconds")
    lines = [
        {"position": position, "metrics": {"stream/seconds": seconds.get(step)}} for step, position in positions.items()
    ]
    return without_time(lines) if "dataset.pictures" in run.params else lines


def by_row(filled: Filled, asked: Mapping[str, Any], note: str) -> Figure:
    """Draw columns of the table over the numbers at the start of its row labels, one curve per column and variant.

    Raises:
        ValueError: no row begins with a number.
    """
    table = filled.table
    places = {row.label: place for row in table.rows if (place := number_of(row)) is not None}
    if not places:
        raise ValueError(f"table {table.name}: no row label begins with a number; a figure of kind by_row needs one")
    if others := [row.label for row in table.rows if row.label not in places]:
        note = "; ".join(filter(None, (note, f"not drawn, because they have no number: {', '.join(others)}")))
    columns = [column for column in table.columns if column.label in asked["columns"]]
    parts = [(variant, column) for variant in table.variants for column in columns]
    curves = [
        Curve(
            _label(column, variant, len(columns)),
            list(places.values()),
            seeds_by_row(filled, list(places), variant, column),
            style,
        )
        for style, (variant, column) in enumerate(parts)
    ]
    names = " / ".join(dict.fromkeys(column.label for column in columns))
    label = label_of(names, ", ".join(sorted({column.unit for column in columns if column.unit})))
    return by_setting_figure(curves, asked["axis"], label, table.title, note)


def number_of(row: Row) -> float | None:
    """Return the number at the start of a row's label, such as 67 of "67 (as published)"; None if there is none."""
    found = re.match(r"\d+(\.\d+)?", row.label)
    return None if found is None else float(found[0])


def seeds_by_row(
    filled: Filled, rows: Sequence[str], variant: Variant, column: Column
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return float64 [seeds, rows]; NaN where a cell has fewer values than the fullest cell."""
    cells = [filled.cells[row, variant.label, column.label].values for row in rows]
    values = np.full((max(map(len, cells), default=0) or 1, len(cells)), np.nan)
    for number, found in enumerate(cells):
        values[: len(found), number] = found
    return values


def _label(column: Column, variant: Variant, num_columns: int) -> str:
    parts = ([column.label] if num_columns > 1 or not variant.label else []) + [variant.label]
    return ", ".join(part for part in parts if part)


if __name__ == "__main__":
    main()
