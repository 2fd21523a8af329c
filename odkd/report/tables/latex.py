"""A filled table as LaTeX for the packages booktabs and graphicx, ready for \\input."""

from __future__ import annotations

import re

from odkd.report.tables.cells import Filled
from odkd.report.tables.published import Published
from odkd.report.tables.render import count_of, heading, places, remarks, text_of
from odkd.report.tables.significance import differences
from odkd.report.tables.spec import Table

ESCAPES = {
    **{character: f"\\{character}" for character in "{}$&#%_"},
    **{character: f"${character}$" for character in "<>|"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def escape(text: str) -> str:
    r"""Escape text for LaTeX.

    >>> escape("50 % of a_b")
    '50 \\% of a\\_b'
    >>> escape("-2.3, 1e-4, a-5")
    '$-$2.3, 1e-4, a-5'
    """
    escaped = "".join(ESCAPES.get(character, character) for character in text)
    return re.sub(r"(?<![\w$-])-(?=\d)", "$-$", escaped)


def latex(filled: Filled, published: Published | None) -> str:
    """Return a `table*` with booktabs rules, groups of columns for variants, and remarks in the caption."""
    table, columns, tests = filled.table, places(filled, published), differences(filled)
    has_groups = any(variant.label for variant in table.variants)
    lines = [
        f"% odkd-tables {table.name} --format latex; needs \\usepackage{{booktabs,graphicx}}",
        r"\begin{table*}",
        r"\centering",
        f"\\caption{{{escape(' '.join([_sentence(table.title), *remarks(filled, published, tests)]))}}}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.name)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}r}}",
        r"\toprule",
    ]
    if has_groups:
        lines += _group_lines(table, [place.variant.label for place in columns])
    headings = [heading(place, published) for place in columns]
    lines += [_line([table.stub, *headings, "n"]), r"\midrule"]
    for row in table.rows:
        cells = [text_of(filled, published, row, place, tests) for place in columns]
        lines.append(_line([row.label, *cells, str(count_of(filled, row))]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""])


def _group_lines(table: Table, variants: list[str]) -> list[str]:
    """Return each variant's label above its columns, and a rule below it."""
    cells, rules, first = [""], [], 2
    for variant in table.variants:
        width = variants.count(variant.label)
        if width:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(variant.label)}}}")
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
            first += width
    return [" & ".join([*cells, ""]) + r" \\", "".join(rules)]


def _line(cells: list[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
