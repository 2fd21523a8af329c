"""A live session: what the answering process does when a frame, an answer, a label or new weights come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from odkd.data.recording.recorder import Recorder
from odkd.data.video.arrivals import Arrival
from odkd.runs.lines import Record
from odkd.training.live.answering import Answering
from odkd.training.live.buffers import Buffers
from odkd.training.live.glance import Glance, Told
from odkd.training.live.measured import Measured
from odkd.training.live.orders import Order, Report
from odkd.training.live.scoring import Scoring
from odkd.training.live.tally import Tally
from odkd.training.live.traffic import Traffic
from odkd.training.live.waiting import Queue, Taken, Waiting
from odkd.training.live.worker import Message
from odkd.training.pace import Pace

BLOCKED_SECONDS = 0.5  # between two looks of a source that waits for the teacher whether the session has ended


class Session:
    """The state of a session, and its rules. It is the `World` of its traffic.

    Threads of the answering process use it: one reads the source (`came`), one answers (`answer`), one a child hears
    it (`heard_...`). A lock makes them take turns; none holds it for longer than a label takes to be counted.

    Args:
        recorder: keeps frames and labels, if they are to be kept.
        blocks: a frame for the teacher waits until there is room for it, and the source with it.
        wrote: called with each metrics line and timing line.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        scoring: Scoring,
        pace: Pace,
        buffers: Buffers,
        measured: Measured,
        tally: Tally,
        recorder: Recorder | None,
        blocks: bool,
        wrote: Callable[[tuple[Record, Record]], None],
    ) -> None:
        self.answering, self.scoring, self._pace = answering, scoring, pace
        self._buffers, self.measured, self.tally, self._wrote = buffers, measured, tally, wrote
        self.lock = threading.Condition()
        self.queue = Queue()
        self.traffic: Traffic
        self._began = time.monotonic()
        self._earlier = 0.0  # seconds of the sessions before
        self.num_frames = self.num_sampled = 0
        self._places: dict[int, tuple[int, int]] = {}  # sampled frame -> its number in the source, begin of its domain
        self._domain: tuple[str, int] | None = None  # that of the newest sampled frame, and where it began
        self._glance = Glance(answering, len(scoring.total_KK))
        self.line: dict[str, float] = {}  # the newest metrics
        self.newest: tuple[Arrival, np.ndarray] | None = None
        self.taught: tuple[Arrival | None, np.ndarray, float] | None = None  # frame, label, when it came
        self._shown: dict[int, Arrival] = {}  # frames that the teacher has
        self._recorder, self._blocks = recorder, blocks
        self.has_ended = False

    def begin(self) -> None:
        """Let time begin."""
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return the time of the run: of this session, and of those before it."""
        return self._earlier + time.monotonic() - self._began

    def came(self, arrival: Arrival) -> None:
        """Take a frame that has just come, and offer it to the teacher if it is sampled."""
        with self.lock:
            now, number = self.seconds(), None
            self.num_frames += 1
            self.tally.counts.frames += 1
            if arrival.is_sampled:
                number = self._sampled(arrival, now)
        self.queue.put(Waiting(arrival, now, number))
        if self._blocks and arrival.is_sampled:
            with self.lock:
                while self.traffic.is_full and not self.has_ended:
                    self.lock.wait(BLOCKED_SECONDS)

    def answer(self, taken: Taken) -> None:
        """Answer a frame, and score what is known of it; before it, the weights may change."""
        before_HW, before_at = self.answering.labels_HW, self.answering.learned_at
        self._swap()
        began = time.monotonic()
        with self.lock:
            self.tally.counts.skipped += taken.num_skipped
            self.tally.counts.missed += len(taken.skipped)
            for number in taken.skipped:  # the answer before stands
                self.scoring.answered(number, before_HW, before_at)
        frame = taken.frame
        labels_HW = self.answering.answer(frame.arrival.small_HWC)
        lasted = time.monotonic() - began
        self.queue.took(lasted)
        with self.lock:
            counts, late = self.tally.counts, self.seconds() - frame.seconds
            counts.answered += 1
            counts.latency += late
            counts.latency_most = max(counts.latency_most, late)
            counts.answer_seconds += lasted
            self.measured.add("student_seconds", lasted)
            self.newest = (frame.arrival, labels_HW)
            if frame.number is not None:
                self.scoring.answered(frame.number, labels_HW, self.answering.learned_at)
                self._write()

    def heard_teacher(self, message: Message) -> None:
        """Take a message of the teacher."""
        with self.lock:
            self.traffic.heard_teacher(message)
            self._write()
            self.lock.notify_all()

    def heard_trainer(self, message: Message) -> None:
        """Take a message of the trainer."""
        with self.lock:
            self.traffic.heard_trainer(message)

    def teacher_died(self) -> None:
        """Go on without the teacher, until it is there again."""
        with self.lock:
            self.traffic.teacher_died()
            self._write()
            self.lock.notify_all()

    def trainer_died(self) -> None:
        """Do the same without the trainer."""
        with self.lock:
            self.traffic.trainer_died()

    def labelled(self, number: int, label_HW: np.ndarray, seconds: float) -> bool:
        now = self.seconds()
        self.measured.add("teacher_seconds", seconds)
        self.tally.costs.num_labelled += 1
        self.tally.ages.label(now, number, self.scoring.seconds_of(number))
        self.scoring.labelled(number, label_HW)
        self._glance.keep(number, label_HW)
        if self._recorder is not None:
            self._recorder.label(number, label_HW, now - self._earlier)
            self._recorder.took(**self.measured.of_work())
        self.taught = (self._shown.pop(number, None), label_HW, now)
        return self._pace.labelled(number, now, self._glance)

    def lost(self, number: int) -> None:
        self._shown.pop(number, None)
        self.scoring.lost(number)

    def order(self, number: int) -> Order:
        return Order(number, self.num_sampled, self._pace.state_dict())

    def trained(self, report: Report) -> None:
        if report.num_learned:
            self.measured.add("train_seconds", report.ended - report.began, of=report.num_learned)
        self.tally.trained(report)
        if report.ready is not None:  # the pace of the trainer was asked this; so is this one
            self._pace.is_enough(report.ready, Told(self._glance, report.answers))
        self._pace.trained(report.num_updates, self.seconds(), is_enough=report.is_enough)

    def _sampled(self, arrival: Arrival, now: float) -> int:
        """Take a sampled frame: train if it is time to, and send it if the pace does; return its number."""
        number = self.num_sampled
        if self._domain is None or arrival.domain != self._domain[0]:
            self._domain = (arrival.domain, number)
        if self._pace.is_due(now, is_step=self.scoring.is_step(number)):
            self.traffic.ask_training()
        self.num_sampled += 1
        self.tally.costs.num_frames += 1
        self._places[number] = (self.num_frames - 1, self._domain[1])
        self.scoring.arrived(number, now, arrival.domain)
        if self._recorder is not None:
            self._recorder.frame(now - self._earlier, number, arrival.small_HWC)
        if self._pace.sends(number, now, self._glance):
            self.scoring.sent(number)
            self._shown[number] = arrival
            self.traffic.offer(number, arrival)
        return number

    def _swap(self) -> None:
        """Use the newest weights, if there are some."""
        with self.lock:
            new = self.traffic.take_weights()
        if new is None:
            return
        self.answering.swap(self._buffers.views(new.buffer, self.answering.like), new.learned_at)
        with self.lock:
            self.measured.add("down_seconds", time.monotonic() - new.ended)
            self.tally.counts.swaps += 1
            self.traffic.used(new)

    def _write(self) -> None:
        """Write a line for each step of the window that is complete."""
        for step in self.scoring.complete():
            frame, began = self._places[step.position]
            line = self.tally.line(step, self.scoring, self.traffic, frame=frame, began=began)
            self.line = {name: value for name, value in line[0]["metrics"].items() if value == value}
            self._wrote(line)
            for number in step.fresh:
                self._places.pop(number, None)

    def counts(self) -> dict[str, float]:
        """Return counts of all frames of the run so far, by metric name."""
        with self.lock:
            return self.tally.so_far()

    def state_dict(self) -> dict[str, Any]:
        """Return what another session of the run goes on with."""
        weights = self.answering.weights()
        with self.lock:
            return {
                "seconds": self.seconds(),
                "frames": self.num_frames,
                "sampled": self.num_sampled,
                "iteration": self.scoring.iteration,
                "trainings": self.traffic.num_trainings,
                "weights": weights,
                **{name: part.state_dict() for name, part in self._parts().items()},
            }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another session; its frames are gone. `scoring` begins with what follows it."""
        self._earlier, self.num_frames, self.num_sampled = state["seconds"], state["frames"], state["sampled"]
        self.traffic.num_trainings = state["trainings"]
        self.answering.load(state["weights"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {"pace": self._pace, "scoring": self.scoring, "measured": self.measured, "tally": self.tally}
