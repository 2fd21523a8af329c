"""Reports of a run, from its run folder: plots, overlay video, model card, the table printed at the end."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from odkd.common.metric_names import REFERENCES as REFERENCE_SUFFIXES
from odkd.common.metric_names import metric_name

Array = NDArray[np.float64]
Scores = dict[str, list[float]]  # name -> one score a reference, in the order of REFERENCES; NaN = undefined or unknown
Line = dict[str, Any]  # one iteration, or one epoch of a training, as results.read_run gives it

GROUNDTRUTH = REFERENCE_SUFFIXES["groundtruth"]
REFERENCES = ("against teacher", "against ground truth", "against previous round")
EPOCH_REFERENCES = dict(zip(REFERENCE_SUFFIXES, REFERENCES, strict=True))  # of trainings over epochs
SCORES = {
    "miou": "mIoU",
    "accuracy": "pixel accuracy",
    "miou_per_frame": "mIoU of a frame",
    "ignored_share": "share of pixels ignored",
    "consistency": "temporal consistency",
    "forgetting": "forgetting of segments (Chaudhry, -1 to 1)",
    "backward_transfer": "backward transfer (Lopez-Paz, -1 to 1)",
    "iterations": "iterations to recover from a change (a count)",
}
SCOPES = {
    "total": "{}, all test windows as one",
    "mean": "{}, mean over iterations",
    "mean_past": "{}, one sequence earlier (BWT)",
    "mean_future": "{}, one sequence ahead (FWT)",
    "mean_last": "{}, last student, all windows (FBWT)",
    "last": "{}, last student, whole stream as one",
    "domain": "{}, test windows as one, {}",
    "segments": "{}",
    "recovery": "{}",
    "teacher": "{} of the teacher",
}
STUDENT_SCORES = {
    "miou": "mIoU",
    "miou_per_frame": "mIoU of a frame",
    "accuracy": "pixel accuracy",
    "f1_weighted": "F1, weighted by pixels",
    "f1_macro": "F1, plain mean of classes",
    "miou_128_batches": "mIoU at 128x128, mean of batches",
}
CLASS_SCOPES = ("total", "teacher")  # the table of classes shows these; a stage has one of them


def values(lines: Sequence[Line], key: str) -> Array:
    """Returns float64 [iterations] of one metric; NaN where it is null or missing."""
    found = [line["metrics"].get(key) for line in lines]
    return np.array([math.nan if value is None else value for value in found], dtype=np.float64)


def final_scores(summary: Mapping[str, float | None]) -> tuple[Scores, Scores]:
    """Sorts a run's summary into scores of the whole and IoU of each class; what is no score is left out.

    Of trainings over epochs, all scores are on the test split.

    >>> final_scores({"mean/miou_groundtruth": 0.5, "total/iou/road": 0.9, "num_iterations": 3})
    ({'mIoU, mean over iterations': [nan, 0.5]}, {'road': [0.9, nan]})
    >>> final_scores({"domain/miou/night": 0.25})
    ({'mIoU, test windows as one, night': [0.25, nan]}, {})
    """
    if "num_trainings" in summary:
        return _student_scores(summary)
    whole: Scores = {}
    classes: Scores = {}
    for key, value in summary.items():
        scope, _, score = key.partition("/")
        score, _, part = score.partition("/")
        name = SCORES.get(score.removesuffix(GROUNDTRUTH))
        if part and scope in CLASS_SCOPES:
            row = classes.setdefault(part, [math.nan, math.nan])
        elif scope in SCOPES and name:
            row = whole.setdefault(SCOPES[scope].format(name, part), [math.nan, math.nan])
        else:
            continue
        row[score.endswith(GROUNDTRUTH)] = math.nan if value is None else value
    return whole, classes


def _student_scores(summary: Mapping[str, float | None]) -> tuple[Scores, Scores]:
    """Of the teacher and of each student, stage by stage; classes of the final student, or of the last there is."""
    whole: Scores = {}
    names = student_names(summary)

    def row(scope: str, score: str, part: str | None = None) -> list[float]:
        found = [summary.get(metric_name(scope, score, reference, part)) for reference in EPOCH_REFERENCES]
        return [math.nan if value is None else value for value in found]

    for score, title in STUDENT_SCORES.items():
        for name in ("teacher", *names):
            stage = name.partition("/")[0]
            if score == "miou" and f"{stage}/labels/miou_groundtruth" in summary:
                whole[f"mIoU, training labels of {student_title(stage)}"] = row(f"{stage}/labels", score)
            if any(metric_name(name, score, reference) in summary for reference in EPOCH_REFERENCES):
                whole[f"{title}, {student_title(name)}"] = row(name, score)
    last = names[-1] if names else "teacher"
    prefixes = tuple(f"{metric_name(last, 'iou', reference)}/" for reference in EPOCH_REFERENCES)
    parts = [key.split("/")[-1] for key in summary if key.startswith(prefixes)]
    return whole, {part: row(last, "iou", part) for part in dict.fromkeys(parts)}


def student_names(summary: Mapping[str, float | None]) -> list[str]:
    """Students of trainings over epochs, in the order of their training: round_1/student_0, ..., final."""
    return [key.removesuffix("/num_epochs") for key in summary if key.endswith("/num_epochs")]


def student_title(name: str) -> str:
    """What people read for a name among the metrics.

    >>> student_title("round_1/student_0"), student_title("final"), student_title("plain")
    ('round 1, student 0', 'final student', 'plain distillation')
    """
    titles = {"final": "final student", "plain": "plain distillation"}
    return titles.get(name) or name.replace("_", " ").replace("/", ", ")


def known_references(scores: Iterable[Sequence[float]]) -> list[int]:
    """Returns which of the two references any score is known against: the columns of a table."""
    known = {column for row in scores for column, value in enumerate(row) if not math.isnan(value)}
    return sorted(known) or [0]


def number(value: float) -> str:
    """Four digits, as papers give; an undefined score is not 0."""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def mean_speeds(lines: Sequence[Line]) -> dict[str, float]:
    """Returns frames per second of learning and evaluation of the run: all frames over all seconds."""
    speeds = {}
    for name, part in (("learning", "learn"), ("evaluation", "evaluate")):
        seconds = values(lines, f"time/{part}_seconds")
        frames = seconds * values(lines, f"time/{part}_frames_per_second")
        known = np.isfinite(frames)
        if seconds[known].sum() > 0:
            speeds[name] = float(frames[known].sum() / seconds[known].sum())
    return speeds
