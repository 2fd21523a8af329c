"""Tables of a page: cells that sort by their value, rows, and the tables that several pages share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from odkd.report import REFERENCES, known_references, number
from odkd.report.html import MISSING


@dataclass(frozen=True)
class Cell:
    """What stands there, the number that it sorts by, the page that it leads to, the per cent of a bar behind it."""

    text: str
    value: float | None = None
    link: str | None = None
    share: float | None = None


@dataclass(frozen=True)
class Row:
    """The first cell is the row's head; `is_best` prints it bold."""

    cells: Sequence[Cell]
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """`words` are the columns that hold text: left aligned, broken where they are long; all others hold numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Row]
    words: frozenset[int] = field(default=frozenset({0}))
    is_sortable: bool = False

    def is_numeric(self, column: int) -> bool:
        return column not in self.words


def words(text: str) -> Cell:
    return Cell(text)


def score(value: float | None, *, bar: bool = False) -> Cell:
    """A score between 0 and 1 with four digits; unknown and undefined are no 0.

    >>> score(0.5, bar=True)
    Cell(text='0.5000', value=0.5, link=None, share=50.0)
    """
    if value is None or math.isnan(value):
        return Cell(MISSING if value is None else "undefined")
    return Cell(number(value), value, share=100 * min(max(value, 0.0), 1.0) if bar else None)


def quantity(value: float | None, form: str = ".4g") -> Cell:
    """A number in a format of its own."""
    return Cell(MISSING) if value is None or math.isnan(value) else Cell(format(value, form), value)


def plain_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """All words."""
    return Table(caption, head, [Row([Cell(text) for text in row]) for row in rows], frozenset(range(len(head))))


def reference_table(title: str, scores: Mapping[str, Sequence[float]]) -> Table | None:
    """Scores under the references that any of them is known against; None where there are none."""
    if not scores:
        return None
    columns = known_references(scores.values())
    rows = [Row([Cell(name), *(score(row[column]) for column in columns)]) for name, row in scores.items()]
    return Table("", [title, *(REFERENCES[column] for column in columns)], rows)
