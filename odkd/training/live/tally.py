"""The metrics lines of a session: what a step of the window has come to, and what happened since the line before."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odkd.common.metric_names import metric_name
from odkd.data.window import Step
from odkd.runs.lines import Record
from odkd.training.clock.ages import Ages
from odkd.training.clock.rates import Rates
from odkd.training.costs import Costs
from odkd.training.live.orders import Report
from odkd.training.live.scoring import Scoring
from odkd.training.live.traffic import Traffic

SUMMED = tuple(metric_name("live", name) for name in ("frames", "frames_answered", "frames_skipped", "weights_swapped"))


@dataclass
class Counts:
    """Counts of all frames since the last line, sampled or not.

    Args:
        frames, answered, skipped: that came, that got an answer, for which there was no time.
        missed: sampled ones among those skipped.
        latency, latency_most: seconds from the coming of a frame to its answer: sum and largest.
        answer_seconds: in which the student was busy.
        train_seconds: in which the trainer was.
        swaps: of weights.
    """

    frames: int = 0
    answered: int = 0
    skipped: int = 0
    missed: int = 0
    latency: float = 0.0
    latency_most: float = 0.0
    answer_seconds: float = 0.0
    train_seconds: float = 0.0
    swaps: int = 0

    def metrics(self) -> dict[str, float]:
        """Return the counts by metric name."""
        found = {
            "frames": self.frames,
            "frames_answered": self.answered,
            "frames_skipped": self.skipped,
            "latency_seconds": self.latency / self.answered if self.answered else float("nan"),
            "latency_most_seconds": self.latency_most if self.answered else float("nan"),
            "weights_swapped": self.swaps,
        }
        return {metric_name("live", name): value for name, value in found.items()}


@dataclass
class Tally:
    """What happens in a session, counted until the next line is written."""

    ages: Ages = field(default_factory=Ages)
    rates: Rates = field(default_factory=Rates)
    costs: Costs = field(default_factory=Costs)
    counts: Counts = field(default_factory=Counts)
    losses: dict[str, float] = field(default_factory=dict)
    sent_bytes: float | None = None  # of the updates since the last line; None = they are not counted
    totals: dict[str, float] = field(default_factory=dict)  # sums over all lines of this process

    def trained(self, report: Report) -> None:
        """Count a training that is complete."""
        self.costs.num_updates += report.num_updates
        self.costs.num_learned += report.num_learned
        self.counts.train_seconds += report.ended - report.began
        self.losses = dict(report.metrics)
        if (sent := self.losses.pop(metric_name("update", "bytes"), None)) is not None:
            self.sent_bytes = (self.sent_bytes or 0.0) + sent

    def line(self, step: Step, scoring: Scoring, traffic: Traffic, *, frame: int, began: int) -> tuple[Record, Record]:
        """Return the metrics line and the timing line of a complete step; counts begin anew.

        Args:
            frame: number in the source of the first frame of the step.
            began: the sampled frame at which its domain began.
        """
        counts, position = self.counts, step.position
        where = {"position": position, "frame": frame, "seconds": scoring.seconds_of(position)}
        metrics: dict[str, float] = {metric_name("stream", name): value for name, value in where.items()}
        metrics |= scoring.metrics(step) | self.losses
        clock = self.rates.metrics(traffic, counts.missed)
        clock[metric_name("clock", "frames_dropped")] += traffic.num_labels_dropped
        traffic.num_labels_dropped = 0
        seconds = {number: scoring.seconds_of(number) for number in step.test}
        clock |= self.ages.metrics(seconds, {number: scoring.learned_at(number) for number in step.test})
        self.ages.forget_before(scoring.seconds_of(min(step.fresh.stop, step.test[-1])))
        self.costs.bytes_up, self.costs.bytes_down = self.rates.new_bytes(traffic)
        if self.sent_bytes is not None:
            metrics[metric_name("update", "bytes")] = self.sent_bytes
            self.sent_bytes = 0.0
        metrics |= self.costs.metrics() | clock | counts.metrics()
        metrics[metric_name("live", "memory_bytes")] = memory_bytes(traffic)
        for name in SUMMED:
            self.totals[name] = self.totals.get(name, 0.0) + metrics[name]
        record = {
            "iteration": step.iteration,
            "position": position,
            "domain": scoring.domain_of(position),
            "domain_began": began,
            "segment": 0,
            "segments_learned": 0,
            "metrics": metrics,
        }
        timing = {"iteration": step.iteration, "time": time.time(), "metrics": self._times()}
        self.costs, self.counts = Costs(), Counts()
        return record, timing

    def so_far(self) -> dict[str, float]:
        """Return the counts of all frames of the run, by metric name."""
        now = self.counts.metrics()
        return {name: self.totals.get(name, 0.0) + now[name] for name in SUMMED}

    def _times(self) -> dict[str, float]:
        counts, costs = self.counts, self.costs
        found = {"learn_seconds": counts.train_seconds, "evaluate_seconds": counts.answer_seconds, "watch_seconds": 0.0}
        found["learn_frames_per_second"] = _rate(costs.num_learned, counts.train_seconds)
        found["evaluate_frames_per_second"] = _rate(counts.answered, counts.answer_seconds)
        return {metric_name("time", name): value for name, value in found.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"totals": self.totals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.totals = dict(state["totals"])


def memory_bytes(traffic: Traffic) -> float:
    """Return the resident memory of the three processes; NaN where the system does not show it."""
    pids = [os.getpid(), *(worker.pid for worker in (traffic.teacher, traffic.trainer) if worker and worker.pid)]
    try:
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    except OSError:
        return float("nan")
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0
