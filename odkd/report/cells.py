"""Tables of a page: sortable cells, rows, and tables that several pages use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from odkd.report import REFERENCES, known_references, number
from odkd.report.html import MISSING


@dataclass(frozen=True)
class Cell:
    """A table cell: text, the number to sort by, the page that it links to, the length of its bar in per cent."""

    text: str
    value: float | None = None
    link: str | None = None
    share: float | None = None


@dataclass(frozen=True)
class Row:
    """A table row; its first cell is the row header, and `is_best` prints it bold."""

    cells: Sequence[Cell]
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the columns in `words` hold text (left aligned, wrapped), all other columns hold numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    words: frozenset[int] = field(default=frozenset({0}))
    is_sortable: bool = False

    def is_numeric(self, column: int) -> bool:
        return column not in self.words


def words(text: str) -> Cell:
    """Return a cell of text."""
    return Cell(text)


def score(value: float | None, *, bar: bool = False) -> Cell:
    """Return a cell of a score in 0..1 with four digits; None is unknown and NaN undefined, never 0.

    >>> score(0.5, bar=True)
    Cell(text='0.5000', value=0.5, link=None, share=50.0)
    """
    if value is None or math.isnan(value):
        return Cell(MISSING if value is None else "undefined")
    return Cell(number(value), value, share=100 * min(max(value, 0.0), 1.0) if bar else None)


def quantity(value: float | None, form: str = ".4g") -> Cell:
    """Return a cell of a number in the given format; None and NaN are missing."""
    return Cell(MISSING) if value is None or math.isnan(value) else Cell(format(value, form), value)


def plain_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of text only."""
    return Table(caption, head, [Row([Cell(text) for text in row]) for row in rows], frozenset(range(len(head))))


def reference_table(title: str, scores: Mapping[str, Sequence[float]]) -> Table | None:
    """Return scores with a column for each known reference; None if there are no scores."""
    if not scores:
        return None
    columns = known_references(scores.values())
    rows = [Row([Cell(name), *(score(row[column]) for column in columns)]) for name, row in scores.items()]
    return Table("", [title, *(REFERENCES[column] for column in columns)], rows)
