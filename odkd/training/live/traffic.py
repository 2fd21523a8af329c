"""Frames to the teacher, labels to the trainer, weights to the student: who works on what, and who owns which memory.

Everything here is called with the session's lock held. Nothing waits: a message to a child is small, and a child that
is not there gets none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from odkd.common.metric_names import metric_name
from odkd.data.video.arrivals import Arrival
from odkd.training.clock.stations import Station, WhenFull, counts_of
from odkd.training.costs import weights_bytes
from odkd.training.live.buffers import Buffers, NewWeights, Turns
from odkd.training.live.orders import Order, Report
from odkd.training.live.slots import Slots
from odkd.training.live.worker import Message, Worker

NUM_SLOTS = 4  # one for the teacher, the others on their way to the trainer


class World(Protocol):
    """What happens; the traffic only knows who has what."""

    def labelled(self, number: int, label_HW: np.ndarray, seconds: float) -> bool:
        """Take the label of a sampled frame that has taken so many seconds; return whether to train now."""

    def lost(self, number: int) -> None:
        """Note that a frame that was sent gets no label."""

    def order(self, number: int) -> Order:
        """Return what is told to the trainer when a training begins now."""

    def trained(self, report: Report) -> None:
        """Note that a training is complete."""


class Traffic:
    """The stations of a session, with the time of a real clock; links take no time on one machine.

    Args:
        seconds: returns the time of the session.
        most_waiting, when_full: policy of the teacher, see `Station`.
        weights: returns those that answer now.
    """

    def __init__(
        self,
        world: World,
        *,
        seconds: Callable[[], float],
        most_waiting: int,
        when_full: WhenFull,
        slots: Slots,
        buffers: Buffers,
        weights: Callable[[], dict[str, Tensor]],
    ) -> None:
        self._world, self._seconds, self._most_waiting = world, seconds, most_waiting
        self._slots, self._buffers, self._weights = slots, buffers, weights
        self.stations = {name: Station(1, "drop_newest") for name in ("up", "trainer", "down")}
        self.stations["teacher"] = Station(most_waiting, when_full)
        self._turns, self._free = Turns(), list(range(NUM_SLOTS))
        self._held: dict[int, Arrival] = {}  # frames that wait for the teacher
        self._labelling: tuple[int, int] | None = None  # slot and number of the frame that the teacher has
        self._training: tuple[int, float] | None = None  # number and begin of the training that is under way
        self._on_the_way: set[int] = set()  # slots that the trainer has not emptied yet
        self._new: NewWeights | None = None
        self._trainer_is_up = False
        self.is_saved = False  # what the trainer has learned is on disk
        self.teacher: Worker | None = None
        self.trainer: Worker | None = None
        self.num_trainings = 0  # asked for
        self.num_labels_dropped = 0  # that the trainer had no place for
        self.bytes_up = self.bytes_down = 0
        self._weights_bytes = weights_bytes(weights())

    @property
    def now(self) -> float:
        """Seconds of the session."""
        return self._seconds()

    def busy_seconds(self) -> dict[str, float]:
        """Return for how long each station has worked until now."""
        return {name: station.busy_seconds(self.now) for name, station in self.stations.items()}

    def counts(self) -> dict[str, int]:
        """Return the counts of frames, trainings and weights so far."""
        return counts_of(self.stations["teacher"].num_dropped, self.stations["trainer"], self.stations["down"])

    @property
    def is_full(self) -> bool:
        """True if a frame that is offered now would be dropped, or another one for it."""
        return self.stations["teacher"].is_busy and len(self._held) >= self._most_waiting

    @property
    def is_labelled(self) -> bool:
        """True if no label is to come."""
        return self._labelling is None and not self._held

    def offer(self, number: int, arrival: Arrival) -> None:
        """Send a sampled frame to the teacher, or drop one; a teacher that is not there gets none."""
        if self.teacher is None or not self.teacher.is_ready:
            self.stations["teacher"].num_dropped += 1
            self._world.lost(number)
            return
        self._held[number] = arrival
        dropped = self.stations["teacher"].offer((number,))
        if dropped is not None:
            del self._held[dropped[0]]
            self._world.lost(dropped[0])
        self._begin_labelling()

    def ask_training(self) -> None:
        """Train now, or when the trainer is free; left out if a training waits already."""
        self.stations["trainer"].offer((self.num_trainings,))
        self.num_trainings += 1
        self._begin_training()

    def take_weights(self) -> NewWeights | None:
        """Return the newest weights that nobody has used yet, to be read now; `used` must follow."""
        if self._new is None or self._turns.take() is None:
            return None
        taken, self._new = self._new, None
        return taken

    def used(self, new: NewWeights) -> None:
        """Note that weights are in use, and their buffer is free."""
        self._turns.used(new.buffer)
        self._give_buffers()

    def heard_teacher(self, message: Message) -> None:
        """Take a message of the teacher."""
        if message[0] == "labelled":
            slot, number, began, ended = message[1:]
            self._labelling = None
            self.stations["teacher"].end(self.now)
            label_HW = self._slots.labels_NHW[slot].copy()
            self._pass_on(slot, number)
            if self._world.labelled(number, label_HW, ended - began):
                self.ask_training()
        self._begin_labelling()

    def heard_trainer(self, message: Message) -> None:
        """Take a message of the trainer."""
        kind = message[0]
        if kind == "ready":
            self._trainer_is_up = True
            if not message[1] and (buffer := self._turns.give()) is not None:
                self._buffers.write(buffer, self._weights())
                self._send(self.trainer, "weights", buffer)
            self._give_buffers()
        elif kind == "taken":
            self._on_the_way.discard(message[1])
            self._free.append(message[1])
            self._begin_labelling()
        elif kind == "saved":
            self.is_saved = message[1]
        else:
            self._trained(message[1])
        self._begin_training()

    def teacher_died(self) -> None:
        """Take back what the teacher had, and drop what waits for it."""
        while (item := self.stations["teacher"].drop()) is not None:
            del self._held[item[0]]
            self._world.lost(item[0])
        if self._labelling is not None:
            slot, number = self._labelling
            self._labelling = None
            self._free.append(slot)
            self._world.lost(number)
        self.stations["teacher"].end(self.now)

    def trainer_died(self) -> None:
        """Take back what the trainer had; weights that wait are complete, and are used."""
        self._trainer_is_up, self._training = False, None
        self._free.extend(self._on_the_way)
        self._on_the_way.clear()
        self._turns.trainer_is_gone()
        self.stations["trainer"].end(self.now)
        self._begin_labelling()

    def _begin_labelling(self) -> None:
        if self.teacher is None or self._labelling is not None or not self._free:
            return
        if (item := self.stations["teacher"].begin(self.now)) is None:
            return
        slot, arrival = self._free.pop(0), self._held.pop(item[0])
        self._slots.put(slot, arrival)
        self.bytes_up += arrival.image_HWC.nbytes
        self._labelling = (slot, item[0])
        self._send(self.teacher, "label", slot, item[0], arrival.position)

    def _pass_on(self, slot: int, number: int) -> None:
        """Give frame and label to the trainer, unless it has not even taken the ones before."""
        if (
            len(self._on_the_way) < NUM_SLOTS - 1
            and self._trainer_is_up
            and self._send(self.trainer, "take", slot, number)
        ):
            self._on_the_way.add(slot)
            return
        self._free.append(slot)
        self.num_labels_dropped += 1

    def _begin_training(self) -> None:
        if not self._trainer_is_up or self._training is not None:
            return
        if (item := self.stations["trainer"].begin(self.now)) is not None:
            self._training = (item[0], self.now)
            self._send(self.trainer, "train", self._world.order(item[0]))

    def _trained(self, report: Report) -> None:
        assert self._training is not None
        learned_at, self._training = self._training[1], None
        self.stations["trainer"].end(self.now)
        self._world.trained(report)
        if report.buffer is not None:
            self.bytes_down += int(report.metrics.get(metric_name("update", "bytes"), self._weights_bytes))
            dropped = self._turns.written(report.buffer)
            self.stations["down"].num_dropped += dropped is not None
            self._new = NewWeights(report.buffer, learned_at, report.ended)
        self._give_buffers()

    def _give_buffers(self) -> None:
        while self._trainer_is_up and (buffer := self._turns.give()) is not None:
            self._send(self.trainer, "buffer", buffer)

    @staticmethod
    def _send(worker: Worker | None, *message: Any) -> bool:
        """Send a message; a child that is gone will be noticed by whoever listens to it."""
        return worker is not None and worker.send(*message)
