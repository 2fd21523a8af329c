"""Tables of results, as text for the terminal and as Markdown for the page."""

from collections.abc import Sequence
from typing import Any

Row = list[str]


def result_rows(results: Sequence[dict[str, Any]]) -> list[Row]:
    """Return a header and one row a result; columns without any entry are left out."""
    header = ["size", "quantity", "median (lowest, highest)", "unit", "baseline", "ratio (lowest, highest)", "limit"]
    rows = [
        [
            result["size"],
            result["quantity"],
            spread(result),
            result["unit"],
            reference(result["baseline"]),
            "" if result["ratio"] is None else spread(result["ratio"]),
            reference(result["limit"]),
        ]
        for result in results
    ]
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    return [[row[column] for column in used] for row in [header, *rows]]


def spread(values: dict[str, Any]) -> str:
    """Return "median (lowest, highest)"; the median alone if nothing was repeated.

    >>> spread({"median": 12.3456, "lowest": 1.0, "highest": 1234.5})
    '12.3 (1.00, 1234)'
    """
    if values["lowest"] == values["highest"]:
        return number(values["median"])
    return f"{number(values['median'])} ({number(values['lowest'])}, {number(values['highest'])})"


def reference(values: dict[str, Any] | None) -> str:
    """Return the number and name of a baseline or limit; "" if there is none."""
    return "" if values is None else f"{number(values['median'])} {values['name']}"


def number(value: float) -> str:
    """Return three digits, four from 1000 on.

    >>> [number(value) for value in (0, 0.012345, 0.98, 1.0449, 43.21, 123.4, 98765.4)]
    ['0', '0.0123', '0.980', '1.04', '43.2', '123', '98765']
    """
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) >= 0.1 else f"{value:.3g}"


def text_table(rows: Sequence[Row]) -> str:
    """Return aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """Return a table of Markdown; the first row is its header."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
