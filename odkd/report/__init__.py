"""Reports of a run, from its run folder: plots, overlay video, model card, the table printed at the end."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from odkd.common.metric_names import REFERENCES as REFERENCE_SUFFIXES
from odkd.common.metric_names import metric_name

Array = NDArray[np.float64]
Scores = dict[str, list[float]]  # title -> scores, one per reference in the order of REFERENCES; NaN = undefined
Line = dict[str, Any]  # one iteration, or one epoch of a training, as results.read_run returns it

GROUNDTRUTH = REFERENCE_SUFFIXES["groundtruth"]
REFERENCES = ("against teacher", "against ground truth", "against previous round")
REFERENCE_TITLES = dict(zip(REFERENCE_SUFFIXES, REFERENCES, strict=True))  # label source -> column title
SCORES = {
    "miou": "mIoU",
    "accuracy": "pixel accuracy",
    "miou_per_frame": "mIoU per frame",
    "ignored_share": "share of ignored pixels",
    "consistency": "temporal consistency",
    "forgetting": "forgetting of segments (Chaudhry, -1 to 1)",
    "backward_transfer": "backward transfer (Lopez-Paz, -1 to 1)",
    "iterations": "iterations to recover from a change (a count)",
}
SCOPES = {
    "total": "{}, all test windows pooled",
    "mean": "{}, mean over iterations",
    "mean_past": "{}, one sequence earlier (BWT)",
    "mean_future": "{}, one sequence ahead (FWT)",
    "mean_last": "{}, last student, all windows (FBWT)",
    "last": "{}, last student, full stream, pooled",
    "domain": "{}, test windows pooled, {}",
    "cell": "{}, test windows pooled, cell {}",
    "stream": "{}, test windows pooled, stream {}",
    "segments": "{}",
    "recovery": "{}",
    "teacher": "{} of the teacher",
}
STUDENT_SCORES = {
    "miou": "mIoU",
    "miou_per_frame": "mIoU per frame",
    "accuracy": "pixel accuracy",
    "f1_weighted": "F1, weighted by pixels",
    "f1_macro": "F1, unweighted mean over classes",
    "miou_128_batches": "mIoU at 128x128, mean over batches",
}
CLASS_SCOPES = ("total", "teacher")  # scopes in the table of classes; each stage has one of them


def values(lines: Sequence[Line], key: str) -> Array:
    """Return one metric as float64 [iterations]; NaN where it is null or missing."""
    found = [line["metrics"].get(key) for line in lines]
    return np.array([math.nan if value is None else value for value in found], dtype=np.float64)


def without_time(lines: Sequence[Line]) -> list[Line]:
    """Return the iterations of a stream of images without their seconds, which only count the images."""
    return [
        line | {"metrics": {key: value for key, value in line["metrics"].items() if key != "stream/seconds"}}
        for line in lines
    ]


def final_scores(summary: Mapping[str, float | None]) -> tuple[Scores, Scores]:
    """Split a summary into overall scores and the IoU of each class; skip entries that are not scores.

    The scores of trainings over epochs are on the test split.

    >>> final_scores({"mean/miou_groundtruth": 0.5, "total/iou/road": 0.9, "num_iterations": 3})
    ({'mIoU, mean over iterations': [nan, 0.5]}, {'road': [0.9, nan]})
    >>> final_scores({"domain/miou/night": 0.25})
    ({'mIoU, test windows pooled, night': [0.25, nan]}, {})
    """
    if "num_trainings" in summary:
        return _student_scores(summary)
    overall: Scores = {}
    classes: Scores = {}
    for key, value in summary.items():
        scope, _, score = key.partition("/")
        score, _, part = score.partition("/")
        name = SCORES.get(score.removesuffix(GROUNDTRUTH))
        if part and scope in CLASS_SCOPES:
            row = classes.setdefault(part, [math.nan, math.nan])
        elif scope in SCOPES and name:
            row = overall.setdefault(SCOPES[scope].format(name, part), [math.nan, math.nan])
        else:
            continue
        row[score.endswith(GROUNDTRUTH)] = math.nan if value is None else value
    return overall, classes


def _student_scores(summary: Mapping[str, float | None]) -> tuple[Scores, Scores]:
    """Return the scores of the teacher and of each student, round by round, and the IoU of each class.

    The classes are those of the final student, or else of the last student that was trained.
    """
    overall: Scores = {}
    names = student_names(summary)

    def row(scope: str, score: str, part: str | None = None) -> list[float]:
        found = [summary.get(metric_name(scope, score, reference, part)) for reference in REFERENCE_TITLES]
        return [math.nan if value is None else value for value in found]

    for score, title in STUDENT_SCORES.items():
        for name in ("teacher", *names):
            round_name, labels = round_of(name), labels_of(name)
            if score == "miou" and metric_name(labels, "miou", "groundtruth") in summary:
                overall[f"mIoU, training labels of {student_title(round_name)}"] = row(labels, score)
            if any(metric_name(name, score, reference) in summary for reference in REFERENCE_TITLES):
                overall[f"{title}, {student_title(name)}"] = row(name, score)
    last = names[-1] if names else "teacher"
    prefixes = tuple(f"{metric_name(last, 'iou', reference)}/" for reference in REFERENCE_TITLES)
    parts = [key.split("/")[-1] for key in summary if key.startswith(prefixes)]
    return overall, {part: row(last, "iou", part) for part in dict.fromkeys(parts)}


def student_names(summary: Mapping[str, float | None]) -> list[str]:
    """Return the students of trainings over epochs in the order of training: round_1/student_0, ..., final."""
    return [key.removesuffix("/num_epochs") for key in summary if key.endswith("/num_epochs")]


def round_of(student: str) -> str:
    """Return the round of a student's training.

    >>> round_of("round_1/student_0"), round_of("final")
    ('round_1', 'final')
    """
    return student.partition("/")[0]


def labels_of(student: str) -> str:
    """Return the scope of the metrics of a student's training labels.

    >>> labels_of("round_1/student_0")
    'round_1/labels'
    """
    return f"{round_of(student)}/labels"


def student_title(name: str) -> str:
    """Return the title of a round or student that is named in metrics.

    >>> student_title("round_1/student_0"), student_title("final"), student_title("plain")
    ('round 1, student 0', 'final student', 'plain distillation')
    """
    titles = {"final": "final student", "plain": "plain distillation"}
    return titles.get(name) or name.replace("_", " ").replace("/", ", ")


def known_references(scores: Iterable[Sequence[float]]) -> list[int]:
    """Return the indices in REFERENCES against which any score is known: the columns of a table."""
    known = {column for row in scores for column, value in enumerate(row) if not math.isnan(value)}
    return sorted(known) or [0]


def number(value: float) -> str:
    """Format a score with four digits; NaN is "undefined", not 0."""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def learned_nothing(lines: Sequence[Line]) -> bool:
    """True if no iteration with a known speed learned from a frame: a frozen student, a scored teacher."""
    found = values(lines, "time/learn_frames_per_second")
    return bool(np.isfinite(found).any()) and not np.nansum(found)


def mean_speeds(lines: Sequence[Line]) -> dict[str, float]:
    """Return frames per second of learning and evaluation: all frames of the run over all seconds.

    A part that never saw a frame has no speed: a frozen student and a scored teacher learn nothing.
    """
    speeds = {}
    for name, part in (("learning", "learn"), ("evaluation", "evaluate")):
        seconds = values(lines, f"time/{part}_seconds")
        frames = seconds * values(lines, f"time/{part}_frames_per_second")
        known = np.isfinite(frames)
        if frames[known].sum() > 0:
            speeds[name] = float(frames[known].sum() / seconds[known].sum())
    return speeds
