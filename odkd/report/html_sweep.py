"""report.html of a sweep, or of any set of runs: what differs, what it does to the score, what it costs."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from odkd.report.cells import Cell, Row, Table, plain_table, quantity, score
from odkd.report.comparison import Comparison, Configuration, Entry, compare
from odkd.report.html import MISSING, Picture, duration, embed, write_page
from odkd.report.html_run import NAME
from odkd.report.settings import changed_settings, default_settings
from odkd.report.sweep_plots import MAX_CURVES, Measure, curves_figure, effects_figure, pair_figure, pareto_figure

METRICS = {  # of a stream, its labels, and of trainings over epochs; the first two known ones are drawn
    "total/miou": "mIoU against teacher",
    "total/miou_groundtruth": "mIoU against ground truth",
    "mean/miou": "mean of iterations, against teacher",
    "mean_past/miou": "one sequence ago (BWT), against teacher",
    "mean_future/miou": "one ahead (FWT), against teacher",
    "mean_final/miou": "last student (FBWT), against teacher",
    "segments/forgetting": "forgetting (Chaudhry)",
    "teacher/miou_groundtruth": "mIoU of the teacher against ground truth",
}
EPOCH_METRICS = {
    "final/miou_groundtruth": "mIoU of the final student against ground truth",
    "final/miou_teacher": "mIoU of the final student against teacher",
    "final/val_best": "its best score on the val split",
    "teacher/miou_groundtruth": "mIoU of the teacher against ground truth",
}
MAX_PAIRS = 6  # heat maps, of the factors with the largest effects
EVALUATION_MATTERS = ("student", "precision", "channels_last", "compile", "device", "dataset.size")


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
    outputs = sweep_folder.resolve().parents[1]  # outputs/sweeps/NAME-KEY
    folders = [outputs / job["run"] for job in sweep["jobs"] if job.get("run")]
    entries = [Entry.read(folder) for folder in dict.fromkeys(folders) if (folder / "run.json").is_file()]
    return _write(sweep_folder / NAME, sweep["name"], entries, sweep)


def write_runs_report(run_folders: Sequence[Path], output: Path) -> Path:
    """Writes one page that compares runs into the file `output` and returns it.

    Raises:
        ValueError: one of them is no run folder, or `output` is a folder.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file, such as {output / NAME}")
    entries = [Entry.read(folder) for folder in dict.fromkeys(path.resolve() for path in run_folders)]
    return _write(output, f"{len(entries)} runs", entries, None)


def _write(path: Path, title: str, entries: Sequence[Entry], sweep: Mapping[str, Any] | None) -> Path:
    comparison = compare(entries)
    metrics = _metrics(entries)
    drawn = _drawn(entries, metrics)
    jobs = sweep["jobs"] if sweep else []
    statuses = Counter(job["status"] for job in jobs) or Counter(entry.run.status for entry in entries)
    devices = sorted({entry.run.tags.get("odkd.device", "") for entry in entries} - {""})
    shared = dict(_shared(entries).items())
    context = {
        "title": title,
        "sweep": sweep,
        "statuses": [f"{count} {status.replace('_', ' ')}" for status, count in statuses.items()],
        "seconds": sum(job.get("seconds") or 0 for job in jobs),
        "comparison": comparison,
        "repetitions": max((len(c.entries) for c in comparison.configurations), default=0),
        "table": _configuration_table(comparison, metrics, drawn, path) if entries else None,
        "best": _best(comparison, drawn),
        "effects": _effects(comparison, metrics, drawn),
        "effect_tables": [_effect_table(comparison, factor, metrics, drawn) for factor in comparison.factors],
        "pairs": _pairs(comparison, metrics, drawn),
        "costs": _costs(comparison, metrics, drawn),
        "curves": _curves(comparison, drawn),
        "devices": devices,
        "shared": plain_table("", ["setting", "all runs", "default"], changed_settings(shared, _default_of(shared))),
        "jobs": _job_table(jobs, path) if jobs else None,
    }
    return write_page(path, "sweep.html.j2", context)


def _metrics(entries: Sequence[Entry]) -> dict[str, str]:
    """Names by key of the summary: what any run knows."""
    is_epochs = any("num_trainings" in entry.run.summary for entry in entries)
    wanted = EPOCH_METRICS if is_epochs else METRICS
    return {key: name for key, name in wanted.items() if not all(math.isnan(entry.score(key)) for entry in entries)}


def _drawn(entries: Sequence[Entry], metrics: Mapping[str, str]) -> list[str]:
    """The keys that are drawn: the first two, or one where both say the same."""
    first = [key for key in metrics if key.startswith(("total/", "final/miou", "teacher/"))][:2]
    is_same = len(first) == 2 and all(
        entry.score(first[0]) == entry.score(first[1]) for entry in entries if not math.isnan(entry.score(first[0]))
    )
    return first[:1] if is_same else first


def _by(key: str) -> Measure:
    return lambda entry: entry.score(key)


def _seconds(entry: Entry) -> float:
    return entry.learn_seconds


def _milliseconds(entry: Entry) -> float:
    return entry.evaluate_milliseconds


def _configuration_table(
    comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str], path: Path
) -> Table:
    """One row a configuration, its seeds as mean ± sample standard deviation."""
    best = _best_configuration(comparison, drawn)
    head = ["", *comparison.factors, "runs", *metrics.values(), "learning, s", "evaluation, ms a frame"]
    rows = []
    for configuration in comparison.configurations:
        cells = [Cell(str(configuration.number), configuration.number)]
        cells += [Cell(level or MISSING) for level in configuration.levels]
        cells.append(_runs_cell(configuration, path))
        cells += [_spread(configuration.statistics(_by(key)), 4) for key in metrics]
        cells += [_spread(configuration.statistics(measure), 2) for measure in (_seconds, _milliseconds)]
        rows.append(Row(cells, is_best=configuration is best))
    text = {index for index, factor in enumerate(comparison.factors, 1) if not _is_numeric(comparison, factor)}
    return Table("", head, rows, frozenset(text), is_sortable=True)


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
    from odkd.report.comparison import as_number

    return all(as_number(level) is not None for level in comparison.levels(factor))


def _best_configuration(comparison: Comparison, drawn: Sequence[str]) -> Configuration | None:
    if not drawn or len(comparison.configurations) < 2:
        return None
    known = [c for c in comparison.configurations if not math.isnan(c.statistics(_by(drawn[0]))[0])]
    return max(known, key=lambda c: c.statistics(_by(drawn[0]))[0], default=None)


def _best(comparison: Comparison, drawn: Sequence[str]) -> tuple[str, str] | None:
    """The best configuration and its score in words."""
    best = _best_configuration(comparison, drawn)
    if best is None:
        return None
    levels = ", ".join(f"{f}={v}" for f, v in zip(comparison.factors, best.levels, strict=True))
    return f"{best.number}: {levels}", _spread(best.statistics(_by(drawn[0])), 4).text


def _effects(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    pictures = []
    for key in drawn:
        figure = effects_figure(comparison, _by(key), f"{metrics[key]}\n(0 to 1)")
        if figure is not None:
            alt = f"A panel a setting with {metrics[key]} at each of its values; the tables below have the numbers."
            pictures.append(embed(figure, alt=alt, title=metrics[key]))
    return pictures


def _effect_table(comparison: Comparison, factor: str, metrics: Mapping[str, str], drawn: Sequence[str]) -> Table:
    rows = []
    for level in comparison.levels(factor):
        found = [comparison.effect({factor: level}, _by(key)) for key in drawn]
        count = len(comparison.with_levels({factor: level}))
        rows.append(Row([Cell(level or MISSING), quantity(count, "d"), *(_spread(one, 4) for one in found)]))
    return Table("", [factor, "configurations", *(metrics[key] for key in drawn)], rows)


def _pairs(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Heat maps of pairs of factors, those with the largest effects first."""

    def span(factor: str) -> float:
        means = [comparison.effect({factor: level}, _by(drawn[0]))[0] for level in comparison.levels(factor)]
        known = [mean for mean in means if not math.isnan(mean)]
        return max(known) - min(known) if known else 0.0

    pictures: list[Picture] = []
    factors = sorted(comparison.factors, key=span, reverse=True) if drawn else []
    for rows, columns in itertools.combinations(factors, 2):
        if len(comparison.levels(rows)) > len(comparison.levels(columns)):
            rows, columns = columns, rows  # wide rather than high
        figure = pair_figure(comparison, rows, columns, _by(drawn[0]), f"{metrics[drawn[0]]}")
        if figure is not None and len(pictures) < MAX_PAIRS:
            title = f"{rows} and {columns}"
            pictures.append(embed(figure, alt=f"Heat map: {metrics[drawn[0]]} by {title}", title=title))
    return pictures


def _costs(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    costs: list[tuple[Measure, str, str]] = [(_seconds, "time of learning in the whole run (s)", "cost of learning")]
    if any(factor.startswith(EVALUATION_MATTERS) for factor in comparison.factors):
        costs.append((_milliseconds, "time of evaluation (ms a frame)", "cost of prediction"))
    pictures = []
    for key in drawn[:1]:
        for measure, label, title in costs:
            figure = pareto_figure(comparison, measure, label, _by(key), f"{metrics[key]} (0 to 1)")
            if figure is not None:
                title = f"{metrics[key]} against {title}"
                alt = f"Scatter plot: {title}. The numbers are those of the table of configurations."
                pictures.append(embed(figure, alt=alt, title=title))
    return pictures


def _curves(comparison: Comparison, drawn: Sequence[str]) -> list[Picture]:
    """Over the stream; of many configurations, the best ones and the worst."""
    if not drawn:
        return []
    known = [c for c in comparison.configurations if not math.isnan(c.statistics(_by(drawn[0]))[0])]
    ranked = sorted(known, key=lambda c: -c.statistics(_by(drawn[0]))[0])
    is_cut = len(ranked) > MAX_CURVES
    chosen = [*ranked[: MAX_CURVES - 2], *ranked[-2:]] if is_cut else ranked
    figure = curves_figure(chosen, drawn[0].replace("total/", "test/"), "mIoU on the next frames (0 to 1)")
    if figure is None:
        return []
    note = f"The best {MAX_CURVES - 2} and the worst 2 of {len(ranked)} configurations." if is_cut else ""
    title = "mIoU over the stream, mean over seeds"
    return [embed(figure, alt=f"Chart: {title}. {note}", title=title, note=note)]


def _shared(entries: Sequence[Entry]) -> dict[str, str]:
    """Settings that all runs have alike."""
    first, *others = [entry.settings for entry in entries] or [{}]
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _default_of(shared: Mapping[str, str]) -> dict[str, str]:
    """The default of what is shared; what differs between runs is told elsewhere."""
    return {key: value for key, value in default_settings().items() if key in shared}


def _job_table(jobs: Sequence[Mapping[str, Any]], path: Path) -> Table:
    outputs = path.resolve().parents[2]
    rows = []
    for job in jobs:
        run = job.get("run")
        link = _link(outputs / run / NAME, path) if run else None
        seconds, value = job.get("seconds"), job.get("value")
        cells = [Cell(str(job["number"]), job["number"]), Cell(str(job["status"]).replace("_", " "))]
        cells += [Cell(" ".join(job["overrides"])), score(value)]
        cells.append(Cell(MISSING) if seconds is None else Cell(duration(seconds), seconds))
        cells += [Cell(Path(run).name if run else MISSING, link=link), Cell(job.get("error") or "")]
        rows.append(Row(cells))
    head = ["job", "status", "overrides", "value", "time", "run", "error"]
    return Table("", head, rows, frozenset({1, 2, 5, 6}), is_sortable=True)


def _link(target: Path, page: Path) -> str:
    """From the page to another, as long as both lie where they lie now; never a scheme of its own."""
    return "./" + quote(os.path.relpath(target.resolve(), page.resolve().parent))
