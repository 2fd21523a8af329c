"""report.html of a sweep, or of any set of runs: what differs, what it does to the score, what it costs."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from odkd.common.files import as_written
from odkd.report.cells import Cell, Row, Table, plain_table, quantity, score
from odkd.report.comparison import CONTENT, Comparison, Configuration, Entry, Measure, as_number, compare
from odkd.report.html import MISSING, duration, write_page
from odkd.report.html_run import NAME
from odkd.report.settings import changed_settings, default_settings
from odkd.report.sweep_pictures import (
    cost_pictures,
    curve_pictures,
    effect_pictures,
    evaluate_milliseconds,
    learn_seconds,
    pair_pictures,
    student_score,
)
from odkd.runs.sweeps.summary import in_brief, value_name

METRICS = {  # of a stream, its labels, and of trainings over epochs; the first two known ones are drawn
    "total/miou": "mIoU against teacher",
    "total/miou_groundtruth": "mIoU against ground truth",
    "mean/miou": "mIoU, mean over iterations, against teacher",
    "mean_past/miou": "mIoU one sequence ago (BWT), against teacher",
    "mean_future/miou": "mIoU one ahead (FWT), against teacher",
    "mean_last/miou": "mIoU of the last student (FBWT), against teacher",
    "segments/forgetting": "forgetting (Chaudhry), against teacher",
    "teacher/miou_groundtruth": "teacher's mIoU against ground truth",
}
EPOCH_METRICS = {
    "final/miou_groundtruth": "final mIoU against ground truth",
    "final/miou": "final mIoU against teacher",
    "final/val_best": "best score on the val split",
    "teacher/miou_groundtruth": "teacher's mIoU against ground truth",
}


def write_sweep_report(sweep_folder: Path) -> Path:
    """Writes report.html into a sweep folder and returns it; jobs without a run are told, not compared.

    Raises:
        ValueError: `sweep_folder` has no sweep.json that can be read.
    """
    path = sweep_folder / "sweep.json"
    try:
        sweep: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); expected the folder of a sweep") from error
    outputs = as_written(sweep_folder).parents[1]  # outputs/sweeps/NAME-KEY
    folders = [outputs / job["run"] for job in sweep["jobs"] if job.get("run")]
    entries = []
    for folder in dict.fromkeys(folders):
        with suppress(ValueError):  # a run that never began, or whose files are broken: the table of jobs has it
            entries.append(Entry.read(folder))
    return _write(sweep_folder / NAME, sweep["name"], entries, sweep)


def write_runs_report(run_folders: Sequence[Path], output: Path) -> Path:
    """Writes one page that compares runs into the file `output` and returns it.

    Raises:
        ValueError: one of them is no run folder, or `output` is a folder.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file, such as {output / NAME}")
    entries = [Entry.read(folder) for folder in {path.resolve(): path for path in run_folders}.values()]
    return _write(output, f"{len(entries)} runs", entries, None)


def _write(path: Path, title: str, entries: Sequence[Entry], sweep: Mapping[str, Any] | None) -> Path:
    comparison = compare(entries)
    metrics = _metrics(entries)
    drawn = _drawn(entries, metrics)
    jobs = sweep["jobs"] if sweep else []
    statuses = Counter(job["status"] for job in jobs) or Counter(entry.run.status for entry in entries)
    devices = sorted({entry.run.tags.get("odkd.device", "") for entry in entries} - {""})
    shared = _shared(entries)
    context = {
        "title": title,
        "sweep": sweep,
        "statuses": [f"{count} {status.replace('_', ' ')}" for status, count in statuses.items()],
        "seconds": sum(job.get("seconds") or 0 for job in jobs),
        "comparison": comparison,
        "repetitions": max((len(c.entries) for c in comparison.configurations), default=0),
        "table": _configuration_table(comparison, metrics, drawn, path) if entries else None,
        "best": _best(comparison, drawn),
        # A factor whose other values all failed before they had a run is one that was asked for, too.
        "varying": list(dict.fromkeys([*(sweep or {}).get("varying", []), *comparison.factors])),
        "compared_by": metrics[drawn[0]] if drawn else "",
        "effects": effect_pictures(comparison, metrics, drawn),
        "effect_tables": _effect_tables(comparison, metrics, drawn),
        "pairs": pair_pictures(comparison, metrics, drawn),
        "costs": cost_pictures(comparison, metrics, drawn),
        "curves": curve_pictures(comparison, drawn),
        "devices": devices,
        "has_learned_before": any(
            entry.settings.get("stage.pretrain_positions", "0") not in ("0", "null") for entry in entries
        ),
        "shared": plain_table("", ["setting", "all runs", "default"], changed_settings(shared, _default_of(shared))),
        "jobs": _job_table(jobs, path) if jobs else None,
    }
    return write_page(path, "sweep.html.j2", context)


def _metrics(entries: Sequence[Entry]) -> dict[str, str]:
    """Names by key of the summary: what any run knows. The final student of trainings over epochs and the last one of
    a stream share keys and are scored on other things: where there are both, only streams are compared."""
    is_epochs = all("num_trainings" in entry.run.summary for entry in entries if entry.run.summary)
    wanted = EPOCH_METRICS if is_epochs else METRICS
    return {key: name for key, name in wanted.items() if not all(math.isnan(entry.score(key)) for entry in entries)}


def _drawn(entries: Sequence[Entry], metrics: Mapping[str, str]) -> list[str]:
    """The keys that are drawn: the first two, or one where both say the same."""
    first = [key for key in metrics if key.startswith(("total/", "final/miou", "teacher/"))][:2]
    is_same = len(first) == 2 and all(
        entry.score(first[0]) == entry.score(first[1]) for entry in entries if not math.isnan(entry.score(first[0]))
    )
    return first[:1] if is_same else first


def _summary(key: str) -> Measure:
    return lambda entry: entry.score(key)


def _configuration_table(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str], path: Path) -> Table:
    """One row a configuration, its seeds as mean ± sample standard deviation; what is drawn comes first, in sight."""
    best = _best_configuration(comparison, drawn)
    others = [key for key in metrics if key not in drawn]
    head = ["", *(metrics[key] for key in drawn), *comparison.factors, "runs"]
    head += [*(metrics[key] for key in others), "learning, s", "evaluation, ms a frame"]
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
    return max(known, key=lambda c: c.statistics(student_score(drawn[0]))[0], default=None)


def _best(comparison: Comparison, drawn: Sequence[str]) -> tuple[str, str] | None:
    """The best configuration and its score in words."""
    best = _best_configuration(comparison, drawn)
    if best is None:
        return None
    named = [(f, in_brief(v)) for f, v in zip(comparison.factors, best.levels, strict=True) if v]
    levels = ", ".join(level if factor in CONTENT else f"{factor}={level}" for factor, level in named)
    return ": ".join(filter(None, (f"row {best.number}", levels))), _spread(
        best.statistics(student_score(drawn[0])), 4
    ).text


def _effect_tables(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Table]:
    """The means and deviations that are drawn; of a continuous factor they are those of the configurations."""
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


def _shared(entries: Sequence[Entry]) -> dict[str, str]:
    """Settings that all runs have alike."""
    first, *others = [entry.settings for entry in entries] or [{}]
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _default_of(shared: Mapping[str, str]) -> dict[str, str]:
    """The default of what is shared; what differs between runs is told elsewhere."""
    return {key: value for key, value in default_settings().items() if key in shared}


def _job_table(jobs: Sequence[Mapping[str, Any]], path: Path) -> Table:
    outputs = as_written(path).parents[2]
    rows = []
    for job in jobs:
        run = job.get("run")
        link = _link(outputs / run / NAME, path) if run else None
        seconds, value = job.get("seconds"), job.get("value")
        cells = [Cell(str(job["number"]), job["number"]), Cell(str(job["status"]).replace("_", " "))]
        cells += [Cell(" ".join(map(_override, job["overrides"]))), score(value)]
        cells.append(Cell(MISSING) if seconds is None else Cell(duration(seconds), seconds))
        cells += [Cell(Path(run).name if run else MISSING, link=link), Cell(job.get("error") or "")]
        rows.append(Row(cells))
    head = ["job", "status", "overrides", value_name(jobs) or "value", "time", "run", "error"]
    return Table("", head, rows, frozenset({1, 2, 5, 6}), is_sortable=True)


def _override(text: str) -> str:
    name, mark, value = text.partition("=")
    return f"{name}{mark}{in_brief(value)}"


def _link(target: Path, page: Path) -> str:
    """From the page to another, as long as both lie where they lie now; never a scheme of its own."""
    return "./" + quote(os.path.relpath(as_written(target), as_written(page).parent))
