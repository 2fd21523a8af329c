"""The summary of a sweep: the table printed at its end, and the same in Markdown for MLflow's page."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from odkd.common.dotted import split_override
from odkd.common.markdown import code, markdown_table, plain
from odkd.common.metric_names import BEST, MEAN
from odkd.common.names import shorten

STATUSES = ("finished", "resumed", "skipped", "pruned", "failed", "not_run", "running", "waiting")
MEANINGS = {"skipped": "finished before", "resumed": "finished from a checkpoint", "not_run": "not finished"}
MAX_ROWS = 40  # of the table in MLflow, which accepts 8000 characters
MAX_LETTERS = 300  # characters of an error in MLflow


def title_of(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the overrides of a job for the keys that differ between jobs, as text.

    >>> title_of(["experiment=x", "+window.learn=20", "seed=1"], ["window.learn", "seed"])
    'window.learn=20 seed=1'
    >>> title_of(["optimizer.lr=0.0012345678901234"], ["optimizer.lr"])
    'optimizer.lr=0.001235'
    """
    pairs = map(split_override, overrides)
    return " ".join(f"{key}={in_brief(value)}" for key, value in pairs if key in keys)


def in_brief(value: str) -> str:
    """Round a fraction with more than four significant digits to four; return whole numbers and other text unchanged.

    >>> [in_brief(value) for value in ("0.0012345678901234", "1.16671e-05", "12.3456", "123456.5")]
    ['0.001235', '1.167e-05', '12.35', '123456']
    >>> [in_brief(value) for value in ("1e-4", "0.25", "fifo", "1234567890", "0.10000")]
    ['1e-4', '0.25', 'fifo', '1234567890', '0.10000']
    """
    if not re.fullmatch(r"-?\d*\.\d+(e[+-]?\d+)?", value):
        return value
    number = float(value)
    brief = f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}"
    return value if float(brief) == number else brief


def tally(jobs: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of jobs with each status, as text.

    >>> tally([{"status": "finished"}, {"status": "not_run"}, {"status": "finished"}])
    '2 finished, 1 not run'
    """
    counts = Counter(job["status"] for job in jobs)
    return ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in STATUSES if counts[name]) or "no jobs"


def value_name(jobs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the metric that all jobs are compared by; None if they have none in common."""
    names = {job["metric"] for job in jobs if job.get("metric")}
    return names.pop() if len(names) == 1 else None


def cells(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the table of jobs: number, varying settings, status, time, value, run."""
    keys = list(record["varying"])
    head = ["job", *keys, "status", "time", record["metric"] or "value", "run"]
    rows = []
    for job in record["jobs"]:
        given = dict(map(split_override, job["overrides"]))
        seconds = "" if job["seconds"] is None else f"{job['seconds']:.1f} s"
        value = "" if job["value"] is None else f"{job['value']:.4f}"
        state = [job["status"].replace("_", " "), seconds, value, (job["run"] or "").removeprefix("runs/")]
        rows.append([str(job["number"]), *(in_brief(given.get(key, "")) for key in keys), *state])
    return head, rows


def errors_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return each error with the jobs that had it; several jobs may share one.

    >>> errors_of({"jobs": [{"number": n, "error": e} for n, e in enumerate(["bad", None, "bad"])]})
    {'bad': 'job 0, 2'}
    """
    errors: dict[str, list[str]] = {}
    for job in record["jobs"]:
        if job["error"]:
            errors.setdefault(job["error"], []).append(str(job["number"]))
    return {error: f"job {', '.join(numbers)}" for error, numbers in errors.items()}


def scores(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the best and the mean value over the jobs; a search says itself what is best.

    >>> scores({"metric": "total/miou", "jobs": [{"value": value} for value in (0.25, None, 0.75)]})
    {'sweep_best/total/miou': 0.75, 'sweep_mean/total/miou': 0.5}
    """
    metric, values = record["metric"], [job["value"] for job in record["jobs"] if job["value"] is not None]
    if metric is None or not values:
        return {}
    found = (record.get("search") or {}).get("best")
    best = max(values) if "search" not in record else found and found["value"]
    return ({} if best is None else {f"{BEST}{metric}": best}) | {f"{MEAN}{metric}": fmean(values)}


def search_lines(record: Mapping[str, Any]) -> list[str]:
    """Return lines with the best trial of a search and the importance of each parameter; empty for a grid."""
    search = record.get("search") or {}
    best, importance = search.get("best"), search.get("importance")
    lines = []
    if best is not None:
        params = " ".join(f"{key}={in_brief(value)}" for key, value in best["params"].items())
        lines.append(f"best: trial {best['trial']}, {record['metric'] or 'value'} {best['value']:.4f}: {params}")
    if importance:
        lines.append("importance: " + ", ".join(f"{key} {share:.2f}" for key, share in importance.items()))
    return lines


def sweep_table(record: Mapping[str, Any]) -> str:
    """Return the text that the command prints: the table of jobs, errors, result of a search, numbers of jobs."""
    head, rows = cells(record)
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    numeric = {0, len(head) - 3, len(head) - 2}
    lines = [
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]
    errors = [f"{who}: {error}" for error, who in errors_of(record).items()]
    parts = [
        "\n".join(lines),
        *(["\n".join(errors)] if errors else []),
        *(["\n".join(found)] if (found := search_lines(record)) else []),
        f"{record['name']}: {record['status']} after {record['seconds']:.0f} s: {tally(record['jobs'])}",
    ]
    return "\n\n".join(parts)


def description(record: Mapping[str, Any]) -> str:
    """Return the same as Markdown, for MLflow's description of the run."""
    head, rows = cells(record)
    found = [
        f"**{name.removeprefix('sweep_').replace('/', ' ', 1)}** {value:.4f}" for name, value in scores(record).items()
    ]
    state = "; ".join([f"**{record['status']}**: {tally(record['jobs'])}", *found])
    lines = [code(record["command"]), "", state, ""]
    lines += [f"{line}\n" for line in search_lines(record)]
    lines += [markdown_table(head, rows[:MAX_ROWS])]
    lines += [f"\nand {len(rows) - MAX_ROWS} more: jobs.json"] if len(rows) > MAX_ROWS else []
    errors = [f"* {who}: {plain(shorten(error, MAX_LETTERS))}" for error, who in errors_of(record).items()]
    return "\n".join([*lines, "", *errors])
