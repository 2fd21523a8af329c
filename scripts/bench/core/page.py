"""docs/performance.md: its tables and its plot, made from the results; the text between them is written by hand.

A block stands between two comments, `<!-- results: loop -->` and `<!-- end -->`. The block of a case that is not in the
file of results keeps what it has. What a case asks and how it is measured is from its declaration.
"""

import re
import textwrap
from pathlib import Path
from typing import Any

from bench.core.case import case_names, load
from bench.core.machine import Load, description
from bench.core.plot import draw
from bench.core.report_file import Report
from bench.core.tables import Row, markdown_table, number, reference, result_rows, spread

PLOT = "performance.svg"


def write_page(page: Path, report: Report) -> None:
    """Renew the blocks of a page, and its plot in the folder `images` beside it.

    Raises:
        ValueError: a run of the file was a quick one, or the page has no block for a case of the file.
    """
    if quick := [name for name, run in report["cases"].items() if run["quick"]]:
        raise ValueError(f"quick runs show no numbers: {', '.join(quick)}; run them without --quick")
    text = put(page.read_text(), "cases", markdown_table(case_rows()))
    for name in case_names():
        text = put(text, f"method: {name}", method_of(name))
    for name, run in report["cases"].items():
        text = put(text, f"results: {name}", block(run))
    if headlines := [result for run in report["cases"].values() for result in run["results"] if result["headline"]]:
        shown = markdown_table(headline_rows(headlines))
        if with_ratio := [result for result in headlines if result["ratio"]]:
            draw(with_ratio, page.parent / "images" / PLOT)
            shown += f"\n\n![How many times its baseline each of these takes, with its spread](images/{PLOT})"
        text = put(text, "headlines", shown)
    page.write_text(text)


def put(text: str, name: str, content: str) -> str:
    """Return the page with other content in a block.

    >>> put("a <!-- x -->\\n1\\n<!-- end --> b", "x", "2")
    'a <!-- x -->\\n\\n2\\n\\n<!-- end --> b'

    Raises:
        ValueError: it has no such block, or two.
    """
    begin = f"<!-- {name} -->"
    if text.count(begin) != 1:
        raise ValueError(f"the page has {text.count(begin)} blocks {begin}; expected one, which ends with <!-- end -->")
    pattern = re.escape(begin) + r".*?<!-- end -->"
    return re.sub(pattern, lambda _: f"{begin}\n\n{content}\n\n<!-- end -->", text, count=1, flags=re.DOTALL)


def block(run: dict[str, Any]) -> str:
    """Return the table of a case's run, and where and when it was measured."""
    lines = [markdown_table(result_rows(run["results"])), "", f"{description(run)}; {run['seconds']:.0f} s."]
    if warning := Load(**run["load"]).warning:
        lines += ["", f"The machine was not quiet: {warning}."]
    return "\n".join(lines)


def method_of(name: str) -> str:
    """Return what a case asks and how it is measured, in lines that an editor can show."""
    case = load(name)[0]
    return textwrap.fill(f"{case.question} {case.method}", 120, break_long_words=False, break_on_hyphens=False)


def case_rows() -> list[Row]:
    """Return a header and a row for each case: what it asks, repeats and seconds."""
    rows = [["case", "question", "repeats", "seconds"]]
    for name in case_names():
        case = load(name)[0]
        seconds = f"{case.seconds}, only by name or with `--all`" if case.is_long else str(case.seconds)
        rows.append([f"[`{name}`](#{name})", case.question, str(case.repeats), seconds])
    return rows


def headline_rows(results: list[dict[str, Any]]) -> list[Row]:
    """Return a header and a row for each of the few numbers that stand for their cases."""
    rows = [["case", "quantity", "measured", "baseline", "ratio", "limit"]]
    for result in results:
        what = ", ".join(filter(None, [result["size"], result["quantity"]]))
        ratio = "" if result["ratio"] is None else spread(result["ratio"])
        measured = f"{number(result['median'])} {result['unit']}"
        bounds = [reference(result["baseline"]), ratio, reference(result["limit"])]
        rows.append([f"[`{result['case']}`](#{result['case']})", what, measured, *bounds])
    return rows
