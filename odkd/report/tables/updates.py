"""The number of updates of a run's training, computed from what the run has stored: the budget behind a score.

A student that learns from more frames an iteration also makes more updates, so scores of two methods with other budgets
differ for two reasons at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Series = Callable[[str], Mapping[int, float]]  # metric -> its values by iteration or epoch
ONLINE = "learn/loss_total"


def count_updates(params: Mapping[str, str], series: Series, loss: str) -> int | None:
    """Return the updates in the iterations or epochs that have the metric `loss`, pretraining included.

    None if it cannot be known: there is no such training, or its updates hold pairs of frames (`stage.order=paired`).

    Args:
        params: of the run, as text; those of plain `odkd` may be missing.
        series: of the run.
        loss: of the training, such as learn/loss_total, or final/loss_total of a run with several trainings.

    >>> times = {"time/learn_seconds": {0: 2.0, 1: 4.0}, "time/learn_frames_per_second": {0: 0.0, 1: 5.0}}
    >>> count_updates({"stage.batch_size": "8"}, lambda name: times.get(name, {1: 0.7}), "learn/loss_total")
    3
    """
    batch_size, is_online = int(params.get("stage.batch_size", "1")), loss == ONLINE
    if is_online and params.get("stage.order", "").startswith("paired"):
        return None
    epochs = (
        int(params.get("stage.epochs", "1")) if is_online else 1
    )  # an iteration counts the frames of all its passes
    to_batches = math.floor if params.get("stage.drop_last") == "True" else math.ceil
    seconds, rate = series("time/learn_seconds"), series("time/learn_frames_per_second")
    frames = [round(seconds[step] * rate[step] / epochs) for step in series(loss) if step in seconds and step in rate]
    before = _pretraining(params, series, batch_size) if is_online else 0
    found = before + epochs * sum(to_batches(number / batch_size) for number in frames)
    return found or None


def _pretraining(params: Mapping[str, str], series: Series, batch_size: int) -> int:
    """Return the updates before the stream; "all" are the frames up to the end of the last test window."""
    given = params.get("stage.pretrain_positions", "0")
    last = max(series("stream/position").values(), default=0)
    positions = int(last) + int(params.get("window.test", "0")) if given == "all" else int(given)
    return int(params.get("stage.pretrain_epochs", "4")) * math.ceil(positions / batch_size)
