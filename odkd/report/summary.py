"""The table printed when a run ends: final scores with their references, speed, and the paths of all results."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from odkd.common.metric_names import metric_name
from odkd.common.names import counted, shorten
from odkd.common.optional import how_to_install, is_installed
from odkd.report import REFERENCES, final_scores, known_references, mean_speeds, number, student_title
from odkd.runs.mlflow_view import page_of
from odkd.runs.records import read_mlflow_note
from odkd.runs.results import Run, read_run
from odkd.runs.tracker import shows

MAX_CLASSES = 40  # rows of the table; with more classes, the 20 best and the 20 worst
PLACES = {
    "report": "report.html",
    "overlay video": "overlay.mp4",
    "plots": "plots",
    "numbers": "results.csv",
    "student": "student.safetensors",
    "student as a teacher": "teacher.p*",
    "students of all rounds": "students",
    "frames of each split": "splits",
    "model card": "MODEL_CARD.md",
    "error": "error.txt",
}


def summary_table(run_folder: Path) -> str:
    """Return the table as text for a terminal; also for an unfinished or failed run.

    Raises:
        ValueError: `run_folder` is not a run folder.
    """
    run = read_run(run_folder)
    overall, classes = final_scores(run.summary)
    parts = [_head(run)]
    if overall:
        parts.append(score_table("score (0 to 1)", overall))
    if pairs := _pair_lines(run.summary):
        parts.append(_pairs(pairs))
    if classes:
        parts += _class_tables(classes)
    if not run.summary:
        parts.append(f"No final scores: the run is {run.status}. The same command continues it.")
    speeds = {f"{name} (frames per second)": f"{speed:.4g}" for name, speed in mean_speeds(run.metrics).items()}
    parts += [_pairs(pairs) for pairs in (speeds, _places(run_folder)) if pairs]
    return "\n\n".join(parts)


def score_table(title: str, scores: Mapping[str, Sequence[float]]) -> str:
    """Return aligned rows of scores with a column for each known reference.

    >>> print(score_table("IoU", {"sky": [0.91, math.nan], "rare class": [math.nan, math.nan]}))
    IoU         against teacher
    sky                  0.9100
    rare class        undefined
    """
    columns = known_references(scores.values())
    width = max(map(len, (title, *scores)))
    lines = ["  ".join([title.ljust(width), *(REFERENCES[column] for column in columns)])]
    for name, row in scores.items():
        cells = [number(row[column]).rjust(len(REFERENCES[column])) for column in columns]
        lines.append("  ".join([name.ljust(width), *cells]))
    return "\n".join(lines)


def _head(run: Run) -> str:
    nouns = {
        "num_iterations": ("iteration", ""),
        "total/update_bytes": ("byte", " sent to the camera"),
        "num_labelled": ("frame", " labelled"),
        "num_trainings": ("student", " trained"),
        "num_epochs": ("epoch", ""),
    }
    counts = [
        counted(round(value), noun) + rest
        for key, (noun, rest) in nouns.items()
        if (value := run.summary.get(key)) is not None
    ]
    return f"{run.name}: " + ", ".join([f"stage {run.stage}", run.status, *counts])


def _class_tables(classes: Mapping[str, Sequence[float]]) -> list[str]:
    """Return one table in the dataset's order, or for very many classes a table of the best and one of the worst."""
    rows: dict[str, Sequence[float]] = {}
    for class_id, (name, row) in enumerate(classes.items()):
        short = shorten(name, 40)
        rows[f"{short} (id {class_id})" if short in rows else short] = row  # long names may begin alike
    if len(rows) <= MAX_CLASSES:
        return [score_table("IoU of class", rows)]
    column = known_references(rows.values())[0]
    defined = [name for name, row in rows.items() if not math.isnan(row[column])]
    ranked = sorted(defined, key=lambda name: rows[name][column], reverse=True)
    half = MAX_CLASSES // 2
    parts = {"best": ranked[:half], "worst": ranked[half:][-half:]}
    titled = {f"IoU of class, {part} {len(names)} of {len(rows)}": names for part, names in parts.items() if names}
    return [score_table(title, {name: rows[name] for name in names}) for title, names in titled.items()]


def _pair_lines(summary: Mapping[str, float | None]) -> dict[str, str]:
    """Return the agreement of the students of each round as title -> text."""
    rows = {}
    for key, value in summary.items():
        round_name, _, score = key.partition("/agreement/")
        if score == "miou" and value is not None:
            equal = summary[metric_name(f"{round_name}/agreement", "equal_pixels")]
            rows[f"students of {student_title(round_name)} against each other"] = (
                f"mIoU {value:.4f}, same class on {math.nan if equal is None else equal:.1%} of pixels"
            )
    return rows


def _places(run_folder: Path) -> dict[str, str]:
    """Return the existing results by name: paths, and the command of the dashboard."""
    places = {"results folder": _path(run_folder)}
    for name, pattern in PLACES.items():
        if found := sorted(run_folder.glob(pattern)):
            places[name] = _path(found[0])
    if "tracking_uri" in (note := read_mlflow_note(run_folder)):
        places["dashboard"] = dashboard(note["tracking_uri"], note.get("experiment_id"))
    return places | {name: text for name, text in shows(run_folder).items() if text}


def dashboard(uri: str, experiment_id: str | None = None) -> str:
    """Return where MLflow shows the runs: the address of its server, or the command that starts one, given here."""
    first = "" if is_installed("flask") else f"{how_to_install('mlflow')}, then  "  # skinny logs, but has no pages
    if uri.startswith("http") and experiment_id is not None:
        return page_of(uri, experiment_id)
    if uri.startswith(("http", "databricks")):
        return uri
    database = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///"):
        return f"{first}mlflow ui --backend-store-uri {shlex.quote(uri)}"
    makefile = Path("Makefile")
    is_clone = makefile.is_file() and "odkd: `make help`" in makefile.read_text(errors="replace")
    if is_clone and database.absolute() == Path("outputs/mlflow.db").absolute():
        return "make dashboard"
    return f"{first}mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{_path(database)}')}"


def _path(path: Path) -> str:
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _pairs(pairs: Mapping[str, str]) -> str:
    width = max(map(len, pairs))
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs.items())
