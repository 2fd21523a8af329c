"""The final scores of a live run, from its metrics lines and the counts of its test windows."""

from collections.abc import Mapping, Sequence
from typing import Any

from odkd.common.metric_names import metric_name
from odkd.evaluation.evaluate import mean_ignoring_nan, score_metrics
from odkd.training.clock.durations import Durations
from odkd.training.costs import summary_of
from odkd.training.live.scoring import REFERENCE, Scoring
from odkd.training.updates.delivery import summary_of_updates

MEANS = ("accuracy", "miou", "miou_per_frame", "consistency")


def live_summary(
    scoring: Scoring,
    classes: Sequence[str],
    records: Sequence[dict[str, Any]],
    durations: Durations,
    counts: Mapping[str, float],
) -> dict[str, float]:
    """Return the summary of all sessions of a run.

    Args:
        records: its metrics lines.
        durations: as they were measured.
        counts: of all frames, `live/...`.
    """
    total = score_metrics(scoring.total_KK[None], classes, "total", REFERENCE)
    total.pop(metric_name("total", "miou_per_frame", REFERENCE))  # one matrix of many frames has no frames
    summary: dict[str, float] = {**total, "num_iterations": len(records)}
    for name in MEANS:
        known = [record["metrics"].get(metric_name("test", name, REFERENCE)) for record in records]
        summary[metric_name("mean", name, REFERENCE)] = mean_ignoring_nan(known)
    dropped = metric_name("clock", "frames_dropped")
    summary[dropped] = sum(record["metrics"].get(dropped) or 0 for record in records)
    return summary | dict(counts) | summary_of_updates(records) | summary_of(records, durations)
