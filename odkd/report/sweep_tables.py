"""Tables of a sweep's page: configurations, effects of single settings, jobs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from odkd.common.files import as_written
from odkd.report.cells import Cell, Row, Table, quantity, score
from odkd.report.comparison import Comparison, Configuration, as_number
from odkd.report.entries import CONTENT, Measure, run_of_job
from odkd.report.html import MISSING, duration
from odkd.report.html_run import NAME
from odkd.report.sweep_pictures import evaluate_milliseconds, learn_seconds, student_score
from odkd.runs.sweeps.summary import MEANINGS, in_brief, value_name


def configuration_table(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str], path: Path) -> Table:
    """Return one row per configuration: mean ± sample standard deviation over seeds, drawn scores first."""
    best = _best_configuration(comparison, drawn)
    others = [key for key in metrics if key not in drawn]
    head = ["", *(metrics[key] for key in drawn), *comparison.factors, "runs"]
    head += [*(metrics[key] for key in others), "learning, s", "evaluation, ms per frame"]
    rows = []
    for configuration in comparison.configurations:
        cells = [Cell(str(configuration.number), configuration.number)]
        cells += [_spread(configuration.statistics(_summary(key)), 4) for key in drawn]
        cells += [_level_cell(level) for level in configuration.levels]
        cells.append(_runs_cell(configuration, path))
        cells += [_spread(configuration.statistics(_summary(key)), 4) for key in others]
        cells += [_spread(configuration.statistics(measure), 2) for measure in (learn_seconds, evaluate_milliseconds)]
        rows.append(Row(cells, is_best=configuration is best))
    first = 1 + len(drawn)
    text = {index for index, factor in enumerate(comparison.factors, first) if not _is_numeric(comparison, factor)}
    return Table("", head, rows, frozenset(text), is_sortable=True)


def best_in_words(comparison: Comparison, drawn: Sequence[str]) -> tuple[str, str] | None:
    """Return the best configuration and its score as text; None if there are not two to compare."""
    best = _best_configuration(comparison, drawn)
    if best is None:
        return None
    named = [(f, in_brief(v)) for f, v in zip(comparison.factors, best.levels, strict=True) if v]
    levels = ", ".join(level if factor in CONTENT else f"{factor}={level}" for factor, level in named)
    found = _spread(best.statistics(student_score(drawn[0])), 4)
    return ": ".join(filter(None, (f"row {best.number}", levels))), found.text


def effect_tables(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Table]:
    """Return a table per factor with the drawn means and deviations; continuous factors have none."""
    tables = []
    for factor in comparison.factors if drawn else ():
        first = student_score(drawn[0])
        if comparison.is_continuous(factor, first):
            continue
        rows = []
        for level in comparison.levels(factor):
            found = [comparison.at_level(factor, level, student_score(key)) for key in drawn]
            count = quantity(len(comparison.with_levels({factor: level})), "d")
            rows.append(Row([_level_cell(level), count, *(_spread(one, 4) for one in found)]))
        over = "its runs" if comparison.is_over_runs(factor, first) else "the configurations"
        caption = f"mean ± sample standard deviation over {over}"
        tables.append(Table(caption, [factor, "configurations", *(metrics[key] for key in drawn)], rows))
    return tables


def job_table(jobs: Sequence[Mapping[str, Any]], path: Path) -> Table:
    """Return one row per job of a sweep, with a link from the page at `path` to the page of its run."""
    outputs = as_written(path).parents[2]
    rows = []
    for job in jobs:
        run, folder = job.get("run"), run_of_job(outputs, job.get("run"))
        link = _link(folder / NAME, path) if folder else None
        seconds, value, status = job.get("seconds"), job.get("value"), str(job["status"])
        cells = [Cell(str(job["number"]), job["number"])]
        cells.append(Cell(MEANINGS.get(status, status.replace("_", " "))))
        cells += [Cell(" ".join(map(_override, job["overrides"]))), score(value)]
        cells.append(Cell(MISSING) if seconds is None else Cell(duration(seconds), seconds))
        cells += [Cell(Path(run).name if run else MISSING, link=link), Cell(job.get("error") or "")]
        rows.append(Row(cells))
    head = ["job", "status", "overrides", value_name(jobs) or "value", "time", "run", "error"]
    return Table("", head, rows, frozenset({1, 2, 5, 6}), is_sortable=True)


def _summary(key: str) -> Measure:
    return lambda entry: entry.score(key)


def _level_cell(level: str) -> Cell:
    return Cell(in_brief(level) or MISSING, as_number(level))


def _runs_cell(configuration: Configuration, path: Path) -> Cell:
    finished = sum(entry.run.status == "finished" for entry in configuration.entries)
    count = len(configuration.entries)
    link = _link(configuration.entries[0].run.folder / NAME, path) if count == 1 else None
    return Cell(str(count) if finished == count else f"{finished} of {count}", finished, link)


def _spread(found: tuple[float, float, int], digits: int) -> Cell:
    mean, deviation, _ = found
    if math.isnan(mean):
        return Cell(MISSING)
    spread = "" if math.isnan(deviation) else f" ± {deviation:.{digits}f}"
    return Cell(f"{mean:.{digits}f}{spread}", mean)


def _is_numeric(comparison: Comparison, factor: str) -> bool:
    return all(as_number(level) is not None for level in comparison.levels(factor))


def _best_configuration(comparison: Comparison, drawn: Sequence[str]) -> Configuration | None:
    if not drawn or len(comparison.configurations) < 2:
        return None
    known = [c for c in comparison.configurations if not math.isnan(c.statistics(student_score(drawn[0]))[0])]
    if len(known) < 2:
        return None
    return max(known, key=lambda c: c.statistics(student_score(drawn[0]))[0], default=None)


def _override(text: str) -> str:
    name, mark, value = text.partition("=")
    return f"{name}{mark}{in_brief(value)}"


def _link(target: Path, page: Path) -> str:
    """Return a relative link from one page to another, valid while neither moves; it never has a URL scheme."""
    return "./" + quote(os.path.relpath(as_written(target), as_written(page).parent), errors="replace")
