"""What a student's times mean for a video that does not wait: rate, retraining, window and stride. Arithmetic alone.

A machine labels each frame of the video by the student, and retrains it every `step` sampled frames, in turn, as a
run does. The teacher's own time is not counted: it labels elsewhere, or before.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """How a student is retrained along a video.

    Args:
        rate: frames of the video per second.
        stride: frames between two sampled ones, which the teacher labels.
        learn: sampled frames that a retraining learns from.
        step: sampled frames between two retrainings.
        epochs: passes over the frames in a retraining.
        batch_size: frames in an update.
    """

    rate: float
    stride: float
    learn: int
    step: int
    epochs: int
    batch_size: int

    @property
    def num_updates(self) -> int:
        """Updates in a retraining."""
        return self.epochs * math.ceil(self.learn / self.batch_size)

    @property
    def seconds_between(self) -> float:
        """Seconds of video between two retrainings."""
        return self.step * self.stride / self.rate


def real_time(plan: Plan, evaluate_seconds: float, update_seconds: float) -> dict[str, Any]:
    """Return what holds in real time.

    Args:
        plan: of the run.
        evaluate_seconds: for one frame; the 90th percentile, so that few frames are late.
        update_seconds: the mean.

    Returns:
        plan: as given. retraining_seconds: of one retraining, alone. evaluated_per_second: frames, if nothing is
        learned. frames_per_second: frames, with this plan's retraining between them. With the video's rate, and None
        where nothing does: retrained_every_seconds, longest_window in sampled frames, shortest_stride in frames.

    >>> found = real_time(Plan(25.0, 25, 20, 10, 1, 1), evaluate_seconds=0.02, update_seconds=0.1)
    >>> found["evaluated_per_second"], found["retraining_seconds"], found["retrained_every_seconds"]
    (50.0, 2.0, 4.0)
    >>> found["longest_window"], found["shortest_stride"], round(found["frames_per_second"], 1)
    (50, 10, 35.7)
    """
    retraining = plan.num_updates * update_seconds
    frames_between = plan.step * plan.stride
    spare = 1 - plan.rate * evaluate_seconds  # share of the time that evaluation leaves
    found: dict[str, Any] = {
        "plan": asdict(plan),
        "retraining_seconds": retraining,
        "evaluated_per_second": 1 / evaluate_seconds,
        "frames_per_second": 1 / (evaluate_seconds + retraining / frames_between),
        "retrained_every_seconds": None,
        "longest_window": None,
        "shortest_stride": None,
    }
    if spare <= 0:
        return found
    num_updates = _whole(spare * plan.seconds_between / (plan.epochs * update_seconds), math.floor)
    stride = _whole(retraining * plan.rate / (plan.step * spare), math.ceil)
    return found | {
        "retrained_every_seconds": retraining / spare,
        "longest_window": num_updates * plan.batch_size or None,
        "shortest_stride": max(1, stride),
    }


def _whole(number: float, to_whole: Any) -> int:
    """Return a number as a whole one; 49.9999999 of a sum of rounded seconds is 50."""
    return int(to_whole(round(number, 6)))
