"""report.html of a run: what it is, how good, what it looks like, what it cost; one file that can be mailed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.report import GROUNDTRUTH, Line, final_scores, mean_speeds, number, values
from odkd.report.cells import plain_table, reference_table
from odkd.report.html import MISSING, Picture, duration, embed, write_page
from odkd.report.run_tables import class_table, cost_table, noise_table, other_scores, stage_table, time_table
from odkd.report.settings import (
    changed_settings,
    class_name,
    classes_of,
    command_of,
    default_settings,
    read_text,
    settings_of,
)
from odkd.report.stills import read_stills
from odkd.runs.results import Run, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "report.html"
SECTIONS = {  # title -> its figures, by the names under which plots.py draws them
    "Scores over time": ("miou", "accuracy", "past_future", "past_future_groundtruth"),
    "What is remembered": ("segments", "segments_groundtruth"),
    "Classes": (
        "class_iou",
        "class_iou_groundtruth",
        "confusion",
        "confusion_groundtruth",
        "confusion_previous_round",
    ),
    "Learning": ("stages", "val_miou", "val_miou_groundtruth", "val_miou_previous_round", "losses"),
    "Cost": ("speed",),
}
NOTES = {  # what a figure shows, for those who know odkd from this page alone
    "miou": "At each moment on the next frames, which the student had not learned from. Stripes are the domains.",
    "accuracy": "Share of pixels with the right class, on the same frames.",
    "past_future": "The student of each moment on the next frames, one sequence ago (BWT) and one ahead (FWT).",
    "segments": "Each row is the student of one moment, scored on every segment of the stream. "
    "Right of the black line are segments that had not come yet; a column that turns darker downwards is forgetting.",
    "class_iou": "A row a class, in the order of the class ids.",
    "confusion": "Rows add up to 100; the diagonal is what was right.",
    "losses": "Mean over the iteration's or epoch's updates.",
    "stages": "Each student after its training, and the labels that a stage learned from (hatched).",
    "val_miou": "What the kept epoch is chosen by, where it is the run's reference. On the val split.",
    "speed": "Of the loop on the machine of the run, in each iteration.",
}
HEADLINES = {  # keys of a summary, the first two known ones of each group become a card
    "mIoU against teacher": ("total/miou", "final/miou"),
    "mIoU against ground truth": ("total/miou_groundtruth", "final/miou_groundtruth", "teacher/miou_groundtruth"),
    "pixel accuracy against ground truth": (
        "total/accuracy_groundtruth",
        "final/accuracy_groundtruth",
        "teacher/accuracy_groundtruth",
    ),
    "forgetting of segments, against teacher": ("segments/forgetting",),
}
WHAT = {  # setting -> what the page calls it
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
SAME = " The teacher is the ground truth."  # ends the caption of a figure that would look the same against both
BOTH = ("miou", "accuracy")  # figures with a curve against each reference
STILLS = {  # of each stage: what its stills are
    "online": "Predictions of the student of that moment, before it learned from the frame.",
    "label": "The teacher's labels against true ones.",
    "other": "Predictions of the last student on the test split.",
}
ONLINE_ONLY = ("replay._target_", "regularizer._target_")


def write_run_report(run_folder: Path, summary: Mapping[str, float | None] | None = None) -> Path:
    """Writes report.html into a run folder and returns it.

    Args:
        run_folder: of a run in whatever state; what it lacks, the page leaves out.
        summary: the final scores, where the run is about to finish and summary.json is not written yet.

    Raises:
        ValueError: `run_folder` is no run folder.
    """
    run = read_run(run_folder)
    if summary is not None:
        known = {key: None if value is None or math.isnan(value) else value for key, value in summary.items()}
        run = replace(run, summary=known, status="finished")
    return write_page(run_folder / NAME, "run.html.j2", run_context(run))


def run_context(run: Run) -> dict[str, Any]:
    """What the template shows."""
    from odkd.report.plots import read_confusions

    settings, classes, lines = settings_of(run), classes_of(run), run.metrics
    whole, class_scores = final_scores(run.summary)
    is_epochs = "num_trainings" in run.summary
    student = "teacher" if run.stage == "label" else "student"
    pictures, is_same = _pictures(run, classes)
    versions = {key.removeprefix("odkd."): value for key, value in run.tags.items() if key.startswith("odkd.")}
    return {
        "title": run.name,
        "run": run,
        "what": _what(run, settings),
        "command": command_of(run),
        "error": read_text(run.folder / "error.txt").strip(),
        "headlines": _headlines(run, lines),
        "scores": other_scores(run.summary) if is_epochs else reference_table("score (0 to 1)", whole),
        "stages": stage_table(run.summary),
        "noise": noise_table(run.summary),
        "classes": class_table(class_scores, read_confusions(run.folder), classes, student, is_same),
        "pictures": pictures,
        "is_same": is_same,
        "stills": read_stills(run.folder),
        "stills_note": STILLS.get(run.stage, STILLS["other"]),
        "times": time_table(lines),
        "costs": cost_table(run),
        "changed": plain_table("", ["setting", "this run", "default"], changed_settings(settings, default_settings())),
        "settings": plain_table("", ["setting", "value"], settings.items()),
        "versions": plain_table("", ["", ""], versions.items()),
    }


def _what(run: Run, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """What it is, in pairs."""
    is_online = run.stage == "online"
    shown = {
        name: class_name(settings[key]) if key.endswith("_target_") else settings[key]
        for key, name in WHAT.items()
        if key in settings and (is_online or key not in ONLINE_ONLY)
    }
    if run.stage == "label":
        shown = {name: shown[name] for name in ("dataset", "teacher") if name in shown}
    if is_online and "window.learn" in settings:
        learn, test, step = (settings.get(f"window.{part}", MISSING) for part in ("learn", "test", "step"))
        shown["window"] = f"learn {learn}, test {test}, step {step} sampled frames"
    return [("stage", run.stage), *shown.items(), ("begun", f"{run.created:%Y-%m-%d %H:%M %Z}"), ("key", run.key[:8])]


def _headlines(run: Run, lines: Sequence[Line]) -> list[tuple[str, str]]:
    cards = []
    for title, keys in HEADLINES.items():
        value = next((run.summary[key] for key in keys if run.summary.get(key) is not None), None)
        if value is not None:
            of_teacher = keys[-1] in run.summary and keys[-1].startswith("teacher/") and run.stage == "label"
            cards.append((number(value), f"{title}, of the teacher" if of_teacher else title))
    counts = {"num_iterations": "iterations", "num_epochs": "epochs in all", "num_labelled": "frames labelled"}
    cards += [(f"{run.summary[key]:.0f}", name) for key, name in counts.items() if run.summary.get(key) is not None]
    seconds = sum(float(np.nansum(values(lines, f"time/{part}_seconds"))) for part in ("learn", "evaluate", "watch"))
    if seconds:
        cards.append((duration(seconds), "time of the loop"))
    speeds = mean_speeds(lines)
    return cards + [(f"{speed:.3g}", f"frames per second, {name}") for name, speed in speeds.items()]


def _pictures(run: Run, classes: Sequence[str]) -> tuple[dict[str, list[Picture]], bool]:
    """Figures by section, and whether those against ground truth are left out because they show the same."""
    from odkd.report.plots import run_figures, run_title

    figures = run_figures(run, classes, run.summary)
    is_same = _is_same(run)
    twins = _twins(figures) if is_same else {}
    prefix = f"{run_title(run)}: "
    found: dict[str, list[Picture]] = {}
    for section, stems in SECTIONS.items():
        for stem in stems:
            if stem in figures and stem not in twins:
                title = figures[stem].get_suptitle().replace(r"\$", "$").removeprefix(prefix)
                note = NOTES.get(stem) or next((NOTES[key] for key in NOTES if stem.startswith(key)), "")
                note += SAME if is_same and stem in (*twins.values(), *BOTH) else ""
                picture = _embed(figures[stem], run, stem, title, note.strip())
                found.setdefault(section, []).append(picture)
    return found, is_same


def _twins(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Of each figure against ground truth, the one that shows the same against the teacher."""
    return {
        stem: twin
        for stem in figures
        if stem.endswith(GROUNDTRUTH)
        if (twin := stem.removesuffix(GROUNDTRUTH)) in figures
    }


def _embed(figure: Figure, run: Run, stem: str, title: str, note: str) -> Picture:
    from odkd.report.plots import reference_scores

    said = ""
    if stem in ("miou", "accuracy"):
        for name, found in reference_scores(run.metrics, stem).items():
            known = found[np.isfinite(found)]
            said += f" {name}: first {known[0]:.3f}, last {known[-1]:.3f}, mean {known.mean():.3f}."
    kind = "Heat map" if stem.startswith(("segments", "class_iou", "confusion")) else "Chart"
    return embed(figure, alt=f"{kind}: {title}.{said}", title=title, note=note)


def _is_same(run: Run) -> bool:
    """Whether every score against ground truth is the score against the teacher: an oracle that never errs."""
    pairs = [
        (source[twin], value)
        for source in (run.summary, *(line["metrics"] for line in run.metrics))
        for key, value in source.items()
        if GROUNDTRUTH in key
        if (twin := key.replace(GROUNDTRUTH, "")) in source
    ]
    return bool(pairs) and all(ours == theirs for ours, theirs in pairs)
