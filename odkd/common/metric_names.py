"""The names of all metrics: SCOPE/SCORE, with the reference at the end of the score, and a part such as the class road.

`metric_name` builds every name. METRICS lists all names that runs use; docs/metrics.md explains each, and a test
compares the page and the runs of every stage with this list.
"""

import re

REFERENCES = {
    "teacher": "",
    "groundtruth": "_groundtruth",
    "previous_round": "_previous_round",
}  # label source -> suffix
SUMMARY = "summary/"  # prefix of final scores in MLflow; names of series have no prefix
BEST, MEAN = "sweep_best/", "sweep_mean/"  # prefixes of a sweep's scores: over its jobs
SCORES = ("miou", "miou_per_frame", "accuracy", "f1_weighted", "f1_macro")  # of a split, in trainings over epochs

# In capitals: CLASS, DOMAIN, CELL and STREAM are names, NUMBER counts segments, LOSS is part of a loss, STUDENT is a
# training (round_1/student_0, plain, final) or two students as one (together), ROUND is round_1, plain or final,
# COMPARED is the final score that a sweep compares, such as total/miou. REFERENCE stands for each suffix in REFERENCES.
METRICS = (
    # each iteration of a stream
    *("test/miouREFERENCE", "test/accuracyREFERENCE", "test/miou_per_frameREFERENCE", "test/consistencyREFERENCE"),
    *("test/iouREFERENCE/CLASS", "past/miouREFERENCE", "future/miouREFERENCE", "segment/miouREFERENCE/NUMBER"),
    *("learn/loss_LOSS", "stream/position", "stream/frame", "stream/seconds"),
    *("update/bytes", "update/changed_share"),
    *("cost/frames", "cost/teacher_frames", "cost/updates", "cost/learned_frames", "cost/bytes_up", "cost/bytes_down"),
    # each iteration under a clock
    *("clock/seconds", "clock/weights_age_seconds", "clock/weights_age_most_seconds", "clock/label_age_seconds"),
    *("clock/label_age_most_seconds", "clock/up_utilisation", "clock/teacher_utilisation", "clock/trainer_utilisation"),
    *("clock/down_utilisation", "clock/frames_dropped", "clock/frames_missed", "clock/trainings"),
    *("clock/trainings_left_out", "clock/weights_dropped"),
    # each iteration of a live session, and its summary
    *("live/frames", "live/frames_answered", "live/frames_skipped", "live/latency_seconds"),
    *("live/latency_most_seconds", "live/weights_swapped", "live/memory_bytes", "live/restarts"),
    # the summary of a stream
    *("cost/teacher_share", "cost/speed_up", "clock/speed_up"),
    *("total/miouREFERENCE", "total/accuracyREFERENCE", "total/iouREFERENCE/CLASS", "domain/miouREFERENCE/DOMAIN"),
    *("mean/miouREFERENCE", "mean/accuracyREFERENCE", "mean/miou_per_frameREFERENCE", "mean/consistencyREFERENCE"),
    *("mean_past/miouREFERENCE", "mean_future/miouREFERENCE", "recovery/iterationsREFERENCE"),
    *("recovery/num_changesREFERENCE", "recovery/num_unrecoveredREFERENCE", "last/miouREFERENCE"),
    *(
        "last/accuracyREFERENCE",
        "last/iouREFERENCE/CLASS",
        "mean_last/miouREFERENCE",
        "last_segment/miouREFERENCE/NUMBER",
    ),
    *("segments/backward_transferREFERENCE", "segments/forgettingREFERENCE", "num_iterations"),
    *("total/update_bytes",),
    # the summary of several streams
    *("cell/miouREFERENCE/CELL", "stream/miouREFERENCE/STREAM"),
    # each epoch of a training
    *("STUDENT/loss_LOSS", "STUDENT/learning_rate", "STUDENT/val/SCOREREFERENCE"),
    # the summary of trainings over epochs
    *("STUDENT/SCOREREFERENCE", "STUDENT/iouREFERENCE/CLASS", "STUDENT/miou_128_batchesREFERENCE", "STUDENT/val_best"),
    *("STUDENT/best_epoch", "STUDENT/num_epochs", "STUDENT/num_updates"),
    *("ROUND/labels/SCOREREFERENCE", "ROUND/labels/ignored_shareREFERENCE"),
    *("ROUND/agreement/miou", "ROUND/agreement/equal_pixels", "num_trainings", "num_epochs", "num_updates"),
    # the teacher's labels
    *("teacher/SCOREREFERENCE", "teacher/iouREFERENCE/CLASS", "teacher/ignored_shareREFERENCE", "num_labelled"),
    # the jobs of a sweep, by the score that it compares
    *(f"{BEST}COMPARED", f"{MEAN}COMPARED"),
    # time, in timing.jsonl
    *("time/learn_seconds", "time/evaluate_seconds", "time/watch_seconds", "time/learn_frames_per_second"),
    *("time/evaluate_frames_per_second",),
)


def metric_name(scope: str, score: str, reference: str | None = None, part: str | None = None) -> str:
    """Return the name of a metric.

    Args:
        scope: when or on which data the score was measured: test, total, round_1/student_0, ...
        score: name of the score, such as miou.
        reference: the label source that predictions are compared with; None for metrics without one, such as a loss.
        part: a class, domain or segment, for the score of this part only.

    >>> metric_name("test", "miou", "teacher"), metric_name("total", "iou", "groundtruth", "road")
    ('test/miou', 'total/iou_groundtruth/road')
    """
    suffix = "" if reference is None else REFERENCES.get(reference, f"_{reference}")
    name = f"{scope}/{score}{suffix}"
    return name if part is None else f"{name}/{part}"


def pattern_of(name: str) -> str | None:
    """Return the entry of METRICS that a name matches; None if there is none.

    >>> pattern_of("total/iou_groundtruth/road"), pattern_of("total/iou_of_road")
    ('total/iouREFERENCE/CLASS', None)
    """
    return next((pattern for pattern in METRICS if re.fullmatch(_regex(pattern), name)), None)


def _regex(pattern: str) -> str:
    values = {
        "REFERENCE": "|".join(REFERENCES.values()),
        "SCORE": "|".join(SCORES),
        "CLASS": ".+",
        "COMPARED": ".+",
        "DOMAIN": ".+",
        "CELL": ".+",
        "STREAM": ".+",
        "NUMBER": r"\d{3,}",
        "LOSS": r"\w+",
        "STUDENT": r"round_\d+/student_\d+|plain|final|together",
        "ROUND": r"round_\d+|plain|final",
    }
    return re.sub("|".join(values), lambda found: f"({values[found[0]]})", pattern)
