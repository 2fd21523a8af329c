"""The child process of the trainer: a thread takes labelled frames as they come, the main thread learns from them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from odkd.common.seeds import named_seed
from odkd.data.window import Step
from odkd.runs.checkpoint import Checkpoint
from odkd.training.costs import Costs
from odkd.training.iteration import learn, select
from odkd.training.live.buffers import Buffers
from odkd.training.live.child import Equipment, Job, Line, begin
from odkd.training.live.inbox import Inbox
from odkd.training.live.kept import Kept
from odkd.training.live.orders import Order, Report
from odkd.training.live.slots import Slots
from odkd.training.scorer import StudentScorer
from odkd.training.sight import StudentSight
from odkd.training.updates_until import updates_until

logger = logging.getLogger(__name__)
CHECKPOINT = "trainer.pt"  # in the folder of the run


class _StoppedError(Exception):
    """The session has ended in the middle of a training."""


def train(job: Job, pipe: Any) -> None:
    """Run the process: train when it is told to, send weights, keep checkpoints."""
    with begin(job, pipe) as line:
        trainer = _Trainer(job, job.equip(job.cfg), line)
        has_weights = trainer.resume()
        threading.Thread(target=trainer.read, daemon=True).start()
        logging.getLogger().setLevel(logging.INFO)  # not before: the answering process has built these parts, too
        line.send("ready", has_weights)
        trainer.work()


class _Trainer:
    """A learner with its replay memory, and the frames that it needs."""

    def __init__(self, job: Job, parts: Equipment, line: Line) -> None:
        self._job, self._line, self._seed, self._window = job, line, parts.seed, parts.window
        self._learner, self._replay, self._pace = parts.learner, parts.replay, parts.pace
        self._kept = Kept()
        evaluator = parts.evaluation_parts.evaluator_of(self._kept, {"teacher": self._kept.labels})
        self._bank = evaluator.bank
        self._scorer = StudentScorer(self._learner, evaluator, batch_size=job.passes.batch_size)
        self._sight = StudentSight(self._learner, evaluator, lambda: self._learner.evaluated)
        self._inbox = Inbox(most=2 * max(self._window.learn, self._window.step))
        self._slots, self._buffers = Slots.attach(job.slots), Buffers.attach(job.buffers)
        self._free: deque[int] = deque()  # buffers that may be written
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ends = threading.Event()
        self._has_observed = False
        self._checkpoint = Checkpoint(job.folder / CHECKPOINT, overhead=job.cfg.run.checkpoint_overhead)
        self._is_refused = False

    def resume(self) -> bool:
        """Go on from the checkpoint; return whether there is one. Frames that were kept are gone."""
        if (state := self._checkpoint.load()) is None:
            return False
        self._learner.load_state_dict(state["learner"])
        return True

    def read(self) -> None:
        """Take what comes, in a thread: labelled frames at once, so that their slots are free."""
        while (message := self._line.receive())[0] != "stop":
            kind = message[0]
            if kind == "take":
                slot, number = message[1:]
                self._inbox.put(number, self._slots.small_NHWC[slot].copy(), self._slots.labels_NHW[slot].copy())
                self._line.send("taken", slot)
            elif kind == "buffer":
                self._free.append(message[1])
            else:
                self._orders.put(message)
        self._ends.set()
        self._orders.put(("stop",))

    def work(self) -> None:
        """Do what is ordered, one after the other, until the session ends; then save what was learned."""
        while (message := self._orders.get())[0] != "stop":
            if message[0] == "weights":
                self._learner.adopt(self._buffers.views(message[1], self._learner.evaluated.state_dict()))
                self._learner.updates.install()
                self._free.append(message[1])
                continue
            try:
                report = self._train(message[1])
            except _StoppedError:
                self._learner.updates.send()  # ends the phase
                break
            self._line.send("trained", report)
            if self._checkpoint.is_due():
                self._save()
        self._save()
        self._line.send("saved", not self._is_refused)

    def _train(self, order: Order) -> Report:
        began, num_dropped = time.monotonic(), self._inbox.num_dropped
        fresh = self._inbox.take(before=order.arrived)
        for number, (image_HWC, label_HW) in fresh.items():
            self._kept.put(number, image_HWC, label_HW)
        ready = list(fresh)
        if ready or self._has_observed:  # nothing is past before the first frame
            self._replay.observe(ready, self._scorer)
            self._has_observed = True
        self._pace.load_state_dict(order.pace)
        step = Step(order.number, order.arrived, gone_by=tuple(ready), test=range(0), fresh=range(0))
        torch.manual_seed(named_seed(self._seed, "iteration", step.iteration))
        selected = select(self._replay, self._window, step, self._scorer)
        costs, asked = Costs(), _Asked(self._sight)
        metrics, is_enough = self._learn(selected, step, ready, costs, asked)
        kept = set(self._replay.kept())
        self._kept.retain(kept)
        self._bank.retain(kept)
        buffer = self._write() if costs.num_updates else None
        return Report(
            number=order.number,
            num_learned=costs.num_learned,
            num_updates=costs.num_updates,
            buffer=buffer,
            is_enough=is_enough,
            ready=tuple(ready) if asked.was_asked else None,
            answers=asked.answers,
            metrics=metrics,
            began=began,
            ended=time.monotonic(),
            num_dropped=num_dropped,
        )

    def _learn(
        self, selected: list[int], step: Step, ready: Sequence[int], costs: Costs, asked: _Asked
    ) -> tuple[dict[str, float], bool]:
        def told(num_positions: int) -> None:
            costs.count_update(num_positions)
            if self._ends.is_set():
                raise _StoppedError

        parts = (self._learner, self._bank, selected, step, self._replay)
        passes, seed, most = self._job.passes, self._seed, self._pace.max_updates
        if most is None:
            return learn(*parts, passes=passes, seed=seed, told=told), False

        def is_enough() -> bool:
            asked.was_asked = True
            return self._pace.is_enough(ready, asked)

        return updates_until(*parts, passes=passes, seed=seed, most=most, is_enough=is_enough, told=told)

    def _write(self) -> int | None:
        """Write the weights that the student shall have into a free buffer; None if there is none."""
        try:
            buffer = self._free.popleft()
        except IndexError:  # the answering process was stopped for a while: the next weights will do
            return None
        self._buffers.write(buffer, self._learner.evaluated.state_dict())
        return buffer

    def _save(self) -> None:
        """Write the checkpoint; a disk that refuses is no reason to end."""
        try:
            self._checkpoint.save({"learner": self._learner.state_dict()})
            self._is_refused = False
        except OSError as error:
            if not self._is_refused:
                logger.warning("the trainer cannot write %s (%s); it goes on", CHECKPOINT, error.strerror)
            self._is_refused = True


class _Asked:
    """A sight that remembers what a pace was told, so that the pace of the answering process can be told the same."""

    def __init__(self, sight: StudentSight) -> None:
        self._sight = sight
        self.was_asked = False
        self.answers: dict[int, float] = {}

    def student_iou(self, position: int) -> float:
        self.answers[position] = self._sight.student_iou(position)
        return self.answers[position]

    def agreement(self, before: int, after: int) -> float:
        return self._sight.agreement(before, after)

    def confidence(self, position: int) -> float:
        return self._sight.confidence(position)

    def has_label(self, position: int) -> bool:
        return self._sight.has_label(position)
