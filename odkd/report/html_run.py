"""report.html of a run: settings, scores, figures, stills and cost in one self-contained file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.names import counted
from odkd.report import GROUNDTRUTH, Line, final_scores, mean_speeds, number, values
from odkd.report.cells import plain_table, reference_table
from odkd.report.html import MISSING, Picture, duration, embed_drawing, write_page
from odkd.report.run_tables import class_table, cost_table, noise_table, other_scores, round_table, time_table
from odkd.report.settings import (
    changed_settings,
    class_name,
    classes_of,
    default_settings,
    scores_teacher,
    settings_of,
)
from odkd.report.stills import read_stills
from odkd.runs.results import Run, command_of, error_of, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from odkd.report.drawing import Drawing

NAME = "report.html"
SECTIONS = {  # title -> its figures, by their file names in plots.py
    "Scores over time": ("miou", "accuracy", "past_future", "past_future_groundtruth"),
    "What is remembered": ("segments", "segments_groundtruth"),
    "Classes": (
        "class_iou",
        "class_iou_groundtruth",
        "confusion",
        "confusion_groundtruth",
        "confusion_previous_round",
    ),
    "Learning": ("rounds", "val_miou", "val_miou_groundtruth", "val_miou_previous_round", "losses"),
    "Cost": ("speed",),
}
NOTES = {  # explanation of each figure, for readers who do not know odkd
    "miou": "Each iteration on the next frames, which the student has not learned from.",
    "accuracy": "Share of correctly classified pixels, on the same frames.",
    "past_future": "The student of each iteration on the next frames, one sequence earlier (BWT) and one ahead (FWT).",
    "segments": "Each row is the student at one time, scored on every segment of the stream. "
    "Segments right of the black line were not reached yet; a column that darkens downwards shows forgetting.",
    "class_iou": "One row per class, in the order of the class ids.",
    "confusion": "Rows add up to 100; the diagonal shows correct pixels.",
    "losses": "Mean over the updates of the iteration or epoch.",
    "rounds": "Each student after its training, and the training labels of each round (hatched).",
    "val_miou": "On the val split. Selects the kept epoch if it is the run's reference.",
    "speed": "Speed of the loop in each iteration, on the machine of the run.",
}
HEADLINES = {  # title of a card -> keys of the summary, of which the first known one is shown
    "mIoU against teacher": ("total/miou", "final/miou"),
    "mIoU against ground truth": ("total/miou_groundtruth", "final/miou_groundtruth", "teacher/miou_groundtruth"),
    "pixel accuracy against ground truth": (
        "total/accuracy_groundtruth",
        "final/accuracy_groundtruth",
        "teacher/accuracy_groundtruth",
    ),
    "forgetting of segments, against teacher": ("segments/forgetting",),
}
SHOWN_SETTINGS = {  # setting -> its name on the page
    "dataset.name": "dataset",
    "teacher.name": "teacher",
    "student.name": "student",
    "replay._target_": "replay",
    "regularizer._target_": "regularizer",
    "loss._target_": "loss",
    "optimizer._target_": "optimizer",
    "optimizer.lr": "learning rate",
    "precision": "precision",
    "seed": "seed",
}
DOMAINS = " Shaded bands are the domains."  # ends the caption of the scores over a stream that has some
SAME = " The teacher is the ground truth."  # ends the caption of a figure that is equal against both references
BOTH = ("miou", "accuracy")  # figures with a curve for each reference
STILLS = {  # stage -> explanation of its stills
    "online": "Predictions of the student at that time, before it learned from the frame.",
    "predictor": "Labels of the teacher, which are scored in place of a student's predictions.",
    "label": "Labels of the teacher and ground truth.",
    "other": "Predictions of the last student on the test split.",
}
ONLINE_ONLY = ("replay._target_", "regularizer._target_")


def write_run_report(
    run_folder: Path, summary: Mapping[str, float | None] | None = None, *, plots: bool = False
) -> Path:
    """Write report.html into a run folder and return it; `plots` writes plots/ too, from the same drawings.

    Args:
        run_folder: of a run in any state; the page omits missing parts.
        summary: the final scores, if the run is about to finish and summary.json is not written yet.

    Raises:
        ValueError: `run_folder` is not a run folder.
    """
    run = read_run(run_folder)
    if summary is not None:
        known = {key: None if value is None or math.isnan(value) else value for key, value in summary.items()}
        run = replace(run, summary=known, status="finished")
    return write_page(run_folder / NAME, "run.html.j2", run_context(run, plots=plots))


def run_context(run: Run, *, plots: bool) -> dict[str, Any]:
    """Return the values for the template; write plots/ if `plots` is true."""
    from odkd.report.plots import read_confusions

    settings, classes, lines = settings_of(run), classes_of(run), run.metrics
    overall, class_scores = final_scores(run.summary)
    is_epochs = "num_trainings" in run.summary
    student = "teacher" if run.stage == "label" else "student"
    pictures, is_same = _pictures(run, classes, plots=plots)
    versions = {key.removeprefix("odkd."): value for key, value in run.tags.items() if key.startswith("odkd.")}
    return {
        "title": run.name,
        "run": run,
        "what": _what(run, settings),
        "command": command_of(run),
        "error": error_of(run.folder),
        "headlines": _headlines(run, lines),
        "scores": other_scores(run.summary) if is_epochs else reference_table("score (0 to 1)", overall),
        "rounds": round_table(run.summary),
        "noise": noise_table(run.summary),
        "classes": class_table(class_scores, read_confusions(run.folder), classes, student, is_same),
        "pictures": pictures,
        "is_same": is_same,
        "stills": read_stills(run.folder),
        "stills_note": STILLS[
            "predictor" if scores_teacher(settings) else run.stage if run.stage in STILLS else "other"
        ],
        "times": time_table(lines),
        "costs": cost_table(run),
        "changed": plain_table("", ["setting", "this run", "default"], changed_settings(settings, default_settings())),
        "settings": plain_table("", ["setting", "value"], settings.items()),
        "versions": plain_table("", ["", ""], versions.items()),
    }


def _what(run: Run, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the main settings of a run as (name, value)."""
    is_online = run.stage == "online"
    shown = {
        name: class_name(settings[key]) if key.endswith("_target_") else settings[key]
        for key, name in SHOWN_SETTINGS.items()
        if key in settings and (is_online or key not in ONLINE_ONLY)
    }
    if scores_teacher(settings):
        shown = {name: value for name, value in shown.items() if name in ("dataset", "teacher", "seed")}
        shown["scored"] = "the teacher's labels, in place of a student's predictions"
    if settings.get("stage.uses_teacher") == "false":
        shown.pop("teacher", None)
    if run.stage == "label":
        shown = {name: shown[name] for name in ("dataset", "teacher") if name in shown}
    if is_online and "window.learn" in settings:
        learn, test, step = (settings.get(f"window.{part}", MISSING) for part in ("learn", "test", "step"))
        shown["window"] = f"learn {learn}, test {test}, step {step} (in sampled frames)"
    return [("stage", run.stage), *shown.items(), ("started", f"{run.created:%Y-%m-%d %H:%M %Z}"), ("key", run.key[:8])]


def _headlines(run: Run, lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Return the cards at the top of the page as (value, title)."""
    cards = []
    for title, keys in HEADLINES.items():
        value = next((run.summary[key] for key in keys if run.summary.get(key) is not None), None)
        if value is not None:
            of_teacher = keys[-1] in run.summary and keys[-1].startswith("teacher/") and run.stage == "label"
            cards.append((number(value), f"{title}, of the teacher" if of_teacher else title))
    counts = {
        "num_iterations": ("iteration", ""),
        "num_epochs": ("epoch", " in total"),
        "num_labelled": ("frame", " labelled"),
    }
    for key, (noun, rest) in counts.items():
        if (count := run.summary.get(key)) is not None:
            number_text, _, name = counted(round(count), noun).partition(" ")
            cards.append((number_text, name + rest))
    seconds = sum(float(np.nansum(values(lines, f"time/{part}_seconds"))) for part in ("learn", "evaluate", "watch"))
    if seconds:
        cards.append((duration(seconds), "time of the loop"))
    speeds = mean_speeds(lines)
    return cards + [(f"{speed:.3g}", f"frames per second, {name}") for name, speed in speeds.items()]


def _pictures(run: Run, classes: Sequence[str], *, plots: bool) -> tuple[dict[str, list[Picture]], bool]:
    """Return the figures by section; the flag is true if those against ground truth are omitted as duplicates."""
    from odkd.report.canvas import has_domains
    from odkd.report.drawing import draw
    from odkd.report.plots import run_figures, run_title, write_plot

    figures = run_figures(run, classes, run.summary)
    is_same = _is_same(run)
    twins = _twins(figures) if is_same else {}
    prefix = f"{run_title(run)}: "
    sections = {stem: section for section, stems in SECTIONS.items() for stem in stems}
    found: dict[str, list[Picture]] = {section: [] for section in SECTIONS}
    for stem in sorted(figures, key=list(sections).index):
        drawing = draw(figures[stem]) if plots or stem not in twins else None
        if drawing is not None and plots:
            write_plot(run.folder, stem, drawing)
        if drawing is not None and stem not in twins:
            note = NOTES.get(stem) or next((NOTES[key] for key in NOTES if stem.startswith(key)), "")
            note += DOMAINS if stem in BOTH and has_domains(run.metrics) else ""
            note += SAME if is_same and stem in (*twins.values(), *BOTH) else ""
            found[sections[stem]].append(_embed(drawing, run, stem, drawing.title.removeprefix(prefix), note.strip()))
    return {section: pictures for section, pictures in found.items() if pictures}, is_same


def _twins(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Map each figure against ground truth to the same figure against the teacher."""
    return {
        stem: twin
        for stem in figures
        if stem.endswith(GROUNDTRUTH)
        if (twin := stem.removesuffix(GROUNDTRUTH)) in figures
    }


def _embed(drawing: Drawing, run: Run, stem: str, title: str, note: str) -> Picture:
    from odkd.report.stream_plots import reference_scores

    ranges = ""
    if stem in BOTH:
        for name, found in reference_scores(run.metrics, stem).items():
            known = found[np.isfinite(found)]
            ranges += f" {name}: first {known[0]:.3f}, last {known[-1]:.3f}, mean {known.mean():.3f}."
    kind = "Heat map" if stem.startswith(("segments", "class_iou", "confusion")) else "Chart"
    return embed_drawing(drawing, alt=f"{kind}: {title}.{ranges}", title=title, note=note)


def _is_same(run: Run) -> bool:
    """True if every score against ground truth equals that against the teacher, as with an oracle without errors."""
    pairs = [
        (source[twin], value)
        for source in (run.summary, *(line["metrics"] for line in run.metrics))
        for key, value in source.items()
        if GROUNDTRUTH in key
        if (twin := key.replace(GROUNDTRUTH, "")) in source
    ]
    return bool(pairs) and all(ours == theirs for ours, theirs in pairs)
