"""report.html of a sweep, or of any set of runs: the settings that differ, their effects on the score, the cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odkd.common.files import as_written
from odkd.common.names import counted
from odkd.report.cells import plain_table
from odkd.report.entries import Entry, run_of_job
from odkd.report.factors import compare
from odkd.report.html import write_page
from odkd.report.html_run import NAME
from odkd.report.same_frames import same_frames
from odkd.report.settings import changed_settings, default_settings, device_of
from odkd.report.sweep_pictures import cost_pictures, curve_pictures, effect_pictures, pair_pictures
from odkd.report.sweep_tables import best_in_words, configuration_table, effect_tables, job_table
from odkd.runs.records import read_sweep

METRICS = {  # scores of a stream or its labels; the first two known scores are drawn
    "total/miou": "mIoU against teacher",
    "total/miou_groundtruth": "mIoU against ground truth",
    "mean/miou": "mIoU, mean over iterations, against teacher",
    "mean_past/miou": "mIoU one sequence earlier (BWT), against teacher",
    "mean_future/miou": "mIoU one sequence ahead (FWT), against teacher",
    "mean_last/miou": "mIoU of the last student (FBWT), against teacher",
    "segments/forgetting": "forgetting (Chaudhry), against teacher",
    "teacher/miou_groundtruth": "teacher's mIoU against ground truth",
}
EPOCH_METRICS = {  # scores of trainings over epochs, on the test split
    "final/miou_groundtruth": "final mIoU against ground truth",
    "final/miou": "final mIoU against teacher",
    "final/val_best": "best score on the val split",
    "teacher/miou_groundtruth": "teacher's mIoU against ground truth",
}

DONE_BEFORE = ("skipped", "resumed")  # statuses of jobs that finished in a later call of the command


def write_sweep_report(sweep_folder: Path) -> Path:
    """Write report.html into a sweep folder and return it; jobs without a sound run are listed but not compared.

    A run outside the folder of all outputs counts as none: a sweep of somebody else may name any folder.

    Raises:
        ValueError: `sweep_folder` has no readable sweep.json.
    """
    sweep = read_sweep(sweep_folder)
    outputs = as_written(sweep_folder).parents[1]  # outputs/sweeps/NAME-KEY
    folders = [run_of_job(outputs, job.get("run")) for job in sweep["jobs"]]
    entries = []
    for folder in filter(None, dict.fromkeys(folders)):
        with suppress(ValueError, OSError):  # a run that never began, or with broken files, or no name of a folder
            entries.append(Entry.read(folder))
    return _write(sweep_folder / NAME, sweep["name"], entries, sweep)


def write_runs_report(run_folders: Sequence[Path], output: Path) -> Path:
    """Write one page that compares runs into the file `output` and return it.

    Raises:
        ValueError: one of them is not a run folder, or `output` is a folder.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file, such as {output / NAME}")
    entries = [Entry.read(folder) for folder in {path.resolve(): path for path in run_folders}.values()]
    return _write(output, counted(len(entries), "run"), entries, None)


def _write(path: Path, title: str, entries: Sequence[Entry], sweep: Mapping[str, Any] | None) -> Path:
    comparison = compare(entries)
    metrics = _metrics(entries)
    drawn = _drawn(entries, metrics)
    jobs = sweep["jobs"] if sweep else []
    # A job that a repeated command skips or resumes has finished: a reader of the page did not see the calls.
    found = [job["status"] for job in jobs] or [entry.run.status for entry in entries]
    statuses = Counter("finished" if status in DONE_BEFORE else status for status in found)
    devices = sorted({device_of(entry.run) for entry in entries} - {""})
    shared = _shared(entries)
    context = {
        "title": title,
        "sweep": sweep,
        "statuses": [f"{count} {status.replace('_', ' ')}" for status, count in statuses.items()],
        "ended": _ended(entries),
        "seconds": sum(job.get("seconds") or 0 for job in jobs),
        "comparison": comparison,
        "repetitions": max((len(c.entries) for c in comparison.configurations), default=0),
        "table": configuration_table(comparison, metrics, drawn, path) if entries else None,
        "best": best_in_words(comparison, drawn),
        # A swept setting is listed even if the jobs with its other values all failed before they had a run.
        "varying": list(dict.fromkeys([*(sweep or {}).get("varying", []), *comparison.factors])),
        "compared_by": metrics[drawn[0]] if drawn else "",
        "effects": effect_pictures(comparison, metrics, drawn),
        "effect_tables": effect_tables(comparison, metrics, drawn),
        "pairs": pair_pictures(comparison, metrics, drawn),
        "costs": cost_pictures(comparison, metrics, drawn),
        "curves": curve_pictures(comparison, drawn),
        "same_frames": same_frames(comparison.configurations),
        "devices": devices,
        "has_learned_before": any(
            entry.settings.get("stage.pretrain_positions", "0") not in ("0", "null") for entry in entries
        ),
        "shared": plain_table("", ["setting", "all runs", "default"], changed_settings(shared, _default_of(shared))),
        "jobs": job_table(jobs, path) if jobs else None,
    }
    return write_page(path, "sweep.html.j2", context)


def _ended(entries: Sequence[Entry]) -> str:
    """Return when the last finished run ended, as text; "" if none has finished."""
    ends = [entry.run.ended_milliseconds for entry in entries if entry.run.status == "finished"]
    return f"{datetime.fromtimestamp(max(ends) / 1000, UTC):%Y-%m-%d %H:%M} UTC" if ends else ""


def _metrics(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the titles of the scores that any run knows, by key of the summary; each kind of run has its own.

    The final student of trainings over epochs and the last student of a stream are scored on different data, so
    their scores are in different columns.
    """
    is_epochs = {"num_trainings" in entry.run.summary for entry in entries if entry.run.summary}
    wanted = EPOCH_METRICS if is_epochs == {True} else METRICS
    if len(is_epochs) == 2:
        final = {
            key: f"{name} (test split)" if key.startswith("final/miou") else name for key, name in EPOCH_METRICS.items()
        }
        wanted = {key: name for key, name in METRICS.items() if key not in final} | final
    return {key: name for key, name in wanted.items() if not all(math.isnan(entry.score(key)) for entry in entries)}


def _drawn(entries: Sequence[Entry], metrics: Mapping[str, str]) -> list[str]:
    """Return the keys of the drawn scores: the first two of one kind of run, or one if both are equal in all runs.

    Streams are drawn if there are any: scores of trainings on a test split are not compared with those of streams.
    """
    kinds = [[key for key in metrics if key.startswith(kind)] for kind in ("total/", "final/miou", "teacher/")]
    first = next(filter(None, kinds), [])[:2]
    is_same = len(first) == 2 and all(
        entry.score(first[0]) == entry.score(first[1]) for entry in entries if not math.isnan(entry.score(first[0]))
    )
    return first[:1] if is_same else first


def _shared(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the settings with the same value in all runs."""
    first, *others = [entry.settings for entry in entries] or [{}]
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _default_of(shared: Mapping[str, str]) -> dict[str, str]:
    """Return the defaults of the shared settings."""
    return {key: value for key, value in default_settings().items() if key in shared}
