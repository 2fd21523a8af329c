"""Tables of a run's page: classes, rounds of trainings over epochs, time, memory and cost of the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from odkd.common.metric_names import metric_name
from odkd.common.names import counted
from odkd.report import (
    REFERENCE_TITLES,
    REFERENCES,
    STUDENT_SCORES,
    Line,
    Scores,
    known_references,
    labels_of,
    learned_nothing,
    mean_speeds,
    round_of,
    student_names,
    student_title,
    values,
)
from odkd.report.cells import Cell, Row, Table, plain_table, quantity, score, words
from odkd.report.html import MISSING, duration, gibibytes
from odkd.report.settings import device_of
from odkd.runs.results import Run, cost_of

PARTS = {  # part of an iteration, as in the metrics of time -> title
    "learn": "learning, including the selection of frames",
    "evaluate": "evaluation on the next frames",
    "watch": "scores elsewhere: past, future, segments",
}
EPOCH_PARTS = {"learn": "learning", "evaluate": "evaluation on the val split"}  # the same of an epoch


def class_table(
    scores: Scores,
    confusions: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    student: str,
    is_same: bool = False,
) -> Table | None:
    """Return the IoU of each class, its share of the reference's pixels, and the class it is most often confused with.

    Scores against ground truth are omitted if they equal those against the teacher (`is_same`).
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
        source = "ground truth" if reference == "groundtruth" else "the teacher"
        head += [f"% of pixels of {source}", f"most frequent wrong class of the {student}"]
    rows = []
    for name, found in scores.items():
        cells = [Cell(name), *(score(found[column], bar=True) for column in columns)]
        if confusion is not None:
            cells += _mistaken(confusion, classes, name)
        rows.append(Row(cells))
    text_columns = {0, len(head) - 1} if confusion is not None else {0}
    return Table("", head, rows, frozenset(text_columns), is_sortable=True)


def _mistaken(confusion: NDArray[np.int64], classes: Sequence[str], name: str) -> list[Cell]:
    """Return the share of the class in all pixels, and its most frequent wrong class with the share of its pixels."""
    if name not in classes or len(confusion) != len(classes):
        return [words(MISSING), words(MISSING)]
    index, total = classes.index(name), int(confusion.sum())
    row = confusion[index].astype(np.float64)
    num_pixels = row.sum()
    row[index] = 0
    other = int(row.argmax())
    mistaken = f"{classes[other]} ({row[other] / num_pixels:.0%})" if num_pixels and row[other] else MISSING
    return [quantity(100 * num_pixels / total if total else math.nan, ".2f"), words(mistaken)]


def round_table(summary: Mapping[str, float | None]) -> Table | None:
    """Return a row for the teacher and for each student of trainings over epochs: test and label scores, epochs."""
    students = student_names(summary)
    if not students:
        return None
    names = ["teacher", *students]
    known = [r for r in REFERENCE_TITLES if any(metric_name(name, "miou", r) in summary for name in names)]
    head = ["", *(f"mIoU {REFERENCE_TITLES[r]}" for r in known), "mIoU of its training labels"]
    head += ["epochs", "best epoch", "best score on the val split"]
    rows = []
    for name in names:
        if name == "teacher" and "teacher/miou_groundtruth" not in summary:
            continue
        cells = [Cell(student_title(name)), *(score(summary.get(metric_name(name, "miou", r))) for r in known)]
        cells.append(score(summary.get(metric_name(labels_of(name), "miou", "groundtruth"))))
        best = summary.get(f"{name}/best_epoch")
        cells += [quantity(summary.get(f"{name}/num_epochs"), ".0f")]
        cells += [quantity(None if best is None else best + 1, ".0f"), score(summary.get(f"{name}/val_best"))]
        rows.append(Row(cells))
    return Table("", head, rows)


def noise_table(summary: Mapping[str, float | None]) -> Table | None:
    """Return the scores of each round's labels on the training split, and the agreement of its students."""
    rounds = list(dict.fromkeys(map(round_of, student_names(summary))))

    def of_labels(round_name: str, name: str) -> str:
        return metric_name(labels_of(round_name), name, "groundtruth")

    names = [name for name in STUDENT_SCORES if any(of_labels(found, name) in summary for found in rounds)]
    if not names:
        return None
    agreement = {
        "miou": "mIoU of its students against each other",
        "equal_pixels": "share of pixels on which they agree",
    }
    if not any(metric_name(f"{found}/agreement", key) in summary for found in rounds for key in agreement):
        agreement = {}  # one student a round
    head = ["labels of", *(STUDENT_SCORES[name] for name in names), "share ignored", *agreement.values()]
    rows = []
    for found in rounds:
        keys = [of_labels(found, name) for name in (*names, "ignored_share")]
        keys += [metric_name(f"{found}/agreement", name) for name in agreement]
        rows.append(Row([Cell(student_title(found)), *(score(summary.get(key)) for key in keys)]))
    return Table("", head, rows)


def other_scores(summary: Mapping[str, float | None]) -> Table | None:
    """Return the scores of trainings over epochs other than mIoU, which is in the table of rounds."""
    names = ["teacher", *student_names(summary)]
    keys = {  # row -> scope and score
        f"{title}, {student_title(name)}": (name, key)
        for key, title in STUDENT_SCORES.items()
        if key != "miou"
        for name in names
    }
    known = [r for r in REFERENCE_TITLES if any(metric_name(*key, r) in summary for key in keys.values())]
    rows = [
        Row([Cell(title), *(score(summary.get(metric_name(*key, r))) for r in known)])
        for title, key in keys.items()
        if any(metric_name(*key, r) in summary for r in known)
    ]
    return Table("", ["score (0 to 1)", *(REFERENCE_TITLES[r] for r in known)], rows) if rows else None


def time_table(lines: Sequence[Line]) -> Table | None:
    """Return the seconds of each part of the loop over all iterations; of several trainings, also a row for each."""
    rows = []
    total = sum(_seconds(lines, part) for part in PARTS)
    speeds = mean_speeds(lines)
    trainings = dict.fromkeys(line["training"] for line in lines if "training" in line)
    for part, title in (EPOCH_PARTS if trainings else PARTS).items():
        if part == "learn" and learned_nothing(lines):
            title = "nothing learned: selection of frames only"
        if seconds := _seconds(lines, part):
            speed = {"learn": speeds.get("learning"), "evaluate": speeds.get("evaluation")}.get(part)
            rows.append(_time_row(title, seconds, total, quantity(speed)))
    if not rows:
        return None
    for name in trainings if len(trainings) > 1 else ():
        own = [line for line in lines if line["training"] == name]
        seconds = sum(_seconds(own, part) for part in PARTS)
        speed_cell = quantity(mean_speeds(own).get("learning"))
        rows.append(_time_row(f"of which {student_title(name)}", seconds, total, speed_cell))
    return Table("", ["part of the loop", "time", "seconds", "share", "frames per second"], rows)


def _seconds(lines: Sequence[Line], part: str) -> float:
    return float(np.nansum(values(lines, f"time/{part}_seconds")))


def _time_row(title: str, seconds: float, total: float, speed: Cell) -> Row:
    share = quantity(100 * seconds / total if total else math.nan, ".1f")
    cells = [Cell(title), Cell(duration(seconds), seconds), quantity(seconds, ".2f")]
    return Row([*cells, Cell(f"{share.text} %", share.value, share=share.value), speed])


def cost_table(run: Run) -> Table | None:
    """Return the total time, the peak memory, and the cost of the teacher's labels, whichever run made them."""
    rows: list[tuple[str, str]] = []
    known = cost_of(run.folder)
    if processes := known.get("processes"):
        text = duration(sum(entry["seconds"] for entry in processes))
        if len(processes) > 1:
            text += f" in {len(processes)} processes; killed processes are not counted"
        rows.append(("total time after imports: labels, frames, loop, checkpoints, plots", text))
        titles = {"peak_memory_bytes": "peak memory", "peak_device_memory_bytes": "peak memory of the GPU"}
        for key, title in titles.items():
            if peaks := [entry[key] for entry in processes if entry.get(key)]:
                rows.append((title, gibibytes(max(peaks))))
    if teacher := known.get("teacher"):
        frames, seconds = teacher["frames"], teacher["seconds"]
        speed = f", {frames / seconds:.3g} frames per second" if seconds > 0 else ""
        where = f"; on {', '.join(teacher['devices'])}; last {teacher['last'][:10]}"
        rows.append(
            (
                "teacher's labels, made once for all runs",
                f"{counted(frames, 'frame')} in {duration(seconds)}{speed}{where}",
            )
        )
    if device := device_of(run):
        rows.append(("device", f"{device}, host {run.tags.get('odkd.host', 'unknown')}"))
    return plain_table("", ["cost", ""], rows) if rows else None
