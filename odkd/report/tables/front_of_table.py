"""A figure of a table's rows by two of its columns, such as FLOPs and mIoU, with the front that none beats in both."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from odkd.report.front import Point, front_figure
from odkd.report.paper import TITLE_LETTERS
from odkd.report.tables.cells import Filled, place_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def front_of_table(filled: Filled, asked: Mapping[str, Any], note: str) -> Figure:
    """Draw each row and variant by its cost and its score, with deviations over seeds.

    Args:
        filled: the table.
        asked: the figure's YAML: `cost` and `score` are labels of columns, less cost and more score are better;
            `rows` are those to draw, default all; with `families`, rows whose labels are equal up to a comma are one.
        note: second line of the label below.

    Raises:
        ValueError: fewer than two rows have both.
    """
    table = filled.table
    cost, score = (next(column for column in table.columns if column.label == asked[key]) for key in ("cost", "score"))
    wanted = asked.get("rows") or [row.label for row in table.rows]
    points = []
    for row in table.rows:
        for variant in table.variants if row.label in wanted else ():
            spent, scored = (filled.cells.get((row.label, variant.label, part.label)) for part in (cost, score))
            if spent is not None and scored is not None:
                family, comma, rest = place_of(row, variant).partition(", ") if asked.get("families") else ("", "", "")
                name = rest if comma else place_of(row, variant)
                points.append(Point(name, spent.mean, scored.mean, spent.std, scored.std, family))
    below = f"{cost.heading}\n{note}" if note else cost.heading
    title = textwrap.fill(table.title, TITLE_LETTERS)
    figure = front_figure(points, below, score.heading, what=table.stub or "row", title=title)
    if figure is None:
        raise ValueError(
            f"table {table.name}: fewer than two rows have both {cost.label} and {score.label}; a front needs two"
        )
    return figure
