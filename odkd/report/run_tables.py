"""Tables of a run's page: classes, stages of trainings over epochs, time, memory and the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from odkd.common.metric_names import metric_name
from odkd.report import (
    EPOCH_REFERENCES,
    REFERENCES,
    STUDENT_SCORES,
    Line,
    Scores,
    known_references,
    mean_speeds,
    student_names,
    student_title,
    values,
)
from odkd.report.cells import Cell, Row, Table, plain_table, quantity, score, words
from odkd.report.html import MISSING, duration, gibibytes
from odkd.runs.results import Run, cost_of

PARTS = {  # of an iteration's time
    "learn": "learning, with the choice of what to learn from",
    "evaluate": "evaluation on the next frames",
    "watch": "scores elsewhere: past, future, segments",
}


def class_table(
    scores: Scores,
    confusions: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    student: str,
    is_same: bool = False,
) -> Table | None:
    """IoU of each class, how much of the reference it is, and what it is most often taken for.

    `is_same`: scores against ground truth are those against the teacher, and are left out.
    """
    if not scores:
        return None
    columns = known_references(scores.values())
    names = dict(enumerate(REFERENCES))
    if is_same:
        columns = [column for column in columns if column != 1]
        names[0] = "against teacher = ground truth"
    reference = next((name for name in ("groundtruth", "teacher") if name in confusions), None)
    confusion = confusions[reference] if reference else None
    head = ["class", *(f"IoU {names[column]}" for column in columns)]
    if confusion is not None:
        spoken = "ground truth" if reference == "groundtruth" else "the teacher"
        head += [f"% of pixels of {spoken}", f"most often taken by the {student} for"]
    rows = []
    for name, found in scores.items():
        cells = [Cell(name), *(score(found[column], bar=True) for column in columns)]
        if confusion is not None:
            cells += _mistaken(confusion, classes, name)
        rows.append(Row(cells))
    text_columns = {0, len(head) - 1} if confusion is not None else {0}
    return Table("", head, rows, frozenset(text_columns), is_sortable=True)


def _mistaken(confusion: NDArray[np.int64], classes: Sequence[str], name: str) -> list[Cell]:
    if name not in classes or len(confusion) != len(classes):
        return [words(MISSING), words(MISSING)]
    index, total = classes.index(name), int(confusion.sum())
    row = confusion[index].astype(np.float64)
    num_pixels = row.sum()
    row[index] = 0
    other = int(row.argmax())
    mistaken = f"{classes[other]} ({row[other] / num_pixels:.0%})" if num_pixels and row[other] else MISSING
    return [quantity(100 * num_pixels / total if total else math.nan, ".2f"), words(mistaken)]


def stage_table(summary: Mapping[str, float | None]) -> Table | None:
    """Teacher and students of trainings over epochs, one a row, against each reference, with what they learned from."""
    students = student_names(summary)
    if not students:
        return None
    names = ["teacher", *students]
    known = [r for r in EPOCH_REFERENCES if any(metric_name(name, "miou", r) in summary for name in names)]
    head = ["", *(f"mIoU {EPOCH_REFERENCES[r]}" for r in known), "mIoU of the labels it learned from"]
    head += ["epochs", "best epoch", "its score on the val split"]
    rows = []
    for name in names:
        if name == "teacher" and "teacher/miou_groundtruth" not in summary:
            continue
        cells = [Cell(student_title(name)), *(score(summary.get(metric_name(name, "miou", r))) for r in known)]
        cells.append(score(summary.get(f"{name.partition('/')[0]}/labels/miou_groundtruth")))
        best = summary.get(f"{name}/best_epoch")
        cells += [quantity(summary.get(f"{name}/num_epochs"), ".0f")]
        cells += [quantity(None if best is None else best + 1, ".0f"), score(summary.get(f"{name}/val_best"))]
        rows.append(Row(cells))
    return Table("", head, rows)


def noise_table(summary: Mapping[str, float | None]) -> Table | None:
    """How wrong the labels are that each stage learned from (training split), and how alike its students are."""
    stages = list(dict.fromkeys(name.partition("/")[0] for name in student_names(summary)))
    names = [name for name in STUDENT_SCORES if any(f"{s}/labels/{name}_groundtruth" in summary for s in stages)]
    if not names:
        return None
    head = ["labels of", *(STUDENT_SCORES[name] for name in names), "share ignored"]
    head += ["mIoU of its students against each other", "share of pixels on which they agree"]
    rows = []
    for stage in stages:
        keys = [*(f"labels/{name}_groundtruth" for name in names), "labels/ignored_share_groundtruth"]
        keys += ["agreement/miou", "agreement/equal_pixels"]
        rows.append(Row([Cell(student_title(stage)), *(score(summary.get(f"{stage}/{key}")) for key in keys)]))
    return Table("", head, rows)


def other_scores(summary: Mapping[str, float | None]) -> Table | None:
    """Of trainings over epochs, the scores besides mIoU that the table of stages has no room for."""
    names = ["teacher", *student_names(summary)]
    keys = {  # row -> scope and score
        f"{title}, {student_title(name)}": (name, key)
        for key, title in STUDENT_SCORES.items()
        if key != "miou"
        for name in names
    }
    known = [r for r in EPOCH_REFERENCES if any(metric_name(*key, r) in summary for key in keys.values())]
    rows = [
        Row([Cell(title), *(score(summary.get(metric_name(*key, r))) for r in known)])
        for title, key in keys.items()
        if any(metric_name(*key, r) in summary for r in known)
    ]
    return Table("", ["score (0 to 1)", *(EPOCH_REFERENCES[r] for r in known)], rows) if rows else None


def time_table(lines: Sequence[Line]) -> Table | None:
    """Seconds of each part of the loop, over all iterations; of trainings over epochs, a row a student too."""
    rows = []
    total = sum(_seconds(lines, part) for part in PARTS)
    speeds = mean_speeds(lines)
    for part, title in PARTS.items():
        if seconds := _seconds(lines, part):
            speed = {"learn": speeds.get("learning"), "evaluate": speeds.get("evaluation")}.get(part)
            rows.append(_time_row(title, seconds, total, quantity(speed)))
    if not rows:
        return None
    trainings = dict.fromkeys(line["training"] for line in lines if "training" in line)
    for name in trainings if len(trainings) > 1 else ():
        own = [line for line in lines if line["training"] == name]
        seconds = sum(_seconds(own, part) for part in PARTS)
        rows.append(
            _time_row(f"of it: {student_title(name)}", seconds, total, quantity(mean_speeds(own).get("learning")))
        )
    return Table("", ["part of the loop", "time", "seconds", "share", "frames per second"], rows)


def _seconds(lines: Sequence[Line], part: str) -> float:
    return float(np.nansum(values(lines, f"time/{part}_seconds")))


def _time_row(title: str, seconds: float, total: float, speed: Cell) -> Row:
    share = quantity(100 * seconds / total if total else math.nan, ".1f")
    cells = [Cell(title), Cell(duration(seconds), seconds), quantity(seconds, ".2f")]
    return Row([*cells, Cell(f"{share.text} %", share.value, share=share.value), speed])


def cost_table(run: Run) -> Table | None:
    """Whole time, peak memory, and what the teacher's labels have cost whoever made them."""
    rows: list[tuple[str, str]] = []
    known = cost_of(run.folder)
    if processes := known.get("processes"):
        text = duration(sum(entry["seconds"] for entry in processes))
        if len(processes) > 1:
            text += f" in {len(processes)} processes; those that were killed at once are not counted"
        rows.append(("whole time after imports: labels, frames, loop, checkpoints, plots", text))
        titles = {"peak_memory_bytes": "peak memory", "peak_device_memory_bytes": "peak memory of the GPU"}
        for key, title in titles.items():
            if peaks := [entry[key] for entry in processes if entry.get(key)]:
                rows.append((title, gibibytes(max(peaks))))
    if teacher := known.get("teacher"):
        frames, seconds = teacher["frames"], teacher["seconds"]
        speed = f", {frames / seconds:.3g} frames per second" if seconds > 0 else ""
        where = f"; on {', '.join(teacher['devices'])}; last {teacher['last'][:10]}"
        rows.append(
            ("teacher's labels, made once for all runs", f"{frames} frames in {duration(seconds)}{speed}{where}")
        )
    if device := run.tags.get("odkd.device"):
        rows.append(("device", f"{device}, host {run.tags.get('odkd.host', 'unknown')}"))
    return plain_table("", ["cost", ""], rows) if rows else None
