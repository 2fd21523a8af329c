"""Parts of a live session without processes: frames, a child that only listens, a world that only takes notes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from odkd.data.video.arrivals import Arrival
from odkd.training.live.buffers import Buffers
from odkd.training.live.orders import Order, Report
from odkd.training.live.slots import SlotPlan, Slots
from odkd.training.live.traffic import NUM_SLOTS, Traffic

SIZE = (4, 6)


def arrival(number: int, *, is_sampled: bool = True) -> Arrival:
    """A frame whose pixels are all its number."""
    small_HWC = np.full((*SIZE, 3), number % 256, np.uint8)
    return Arrival(number, np.full((8, 12, 3), number % 256, np.uint8), small_HWC, is_sampled, number)


class Listener:
    """A child that is there, and does nothing by itself."""

    def __init__(self) -> None:
        self.is_ready = True
        self.heard: list[tuple[Any, ...]] = []

    def send(self, *message: Any) -> bool:
        if self.is_ready:
            self.heard.append(message)
        return self.is_ready

    def take(self, kind: str) -> list[tuple[Any, ...]]:
        """Return, and forget, what it heard of a kind."""
        found = [message[1:] for message in self.heard if message[0] == kind]
        self.heard = [message for message in self.heard if message[0] != kind]
        return found


class Notes:
    """A world that takes notes."""

    def __init__(self) -> None:
        self.labels: dict[int, np.ndarray] = {}
        self.losses: list[int] = []
        self.reports: list[Report] = []

    def labelled(self, number: int, label_HW: np.ndarray, _: float) -> bool:
        self.labels[number] = label_HW
        return False

    def lost(self, number: int) -> None:
        self.losses.append(number)

    def order(self, number: int) -> Order:
        return Order(number, 0, {})

    def trained(self, report: Report) -> None:
        self.reports.append(report)


def weights(value: float) -> dict[str, Tensor]:
    """Weights of several types, one of them without a dimension."""
    return {"a": torch.full((3, 5), value), "count": torch.tensor(int(value)), "half": torch.full((7,), value).half()}


def report(number: int, buffer: int | None) -> Report:
    """A training that has learned from a frame."""
    return Report(
        number=number,
        num_learned=1,
        num_updates=1,
        buffer=buffer,
        is_enough=False,
        ready=None,
        answers={},
        metrics={},
        began=0.0,
        ended=1.0,
        num_dropped=0,
    )


class Lab:
    """A traffic with listeners as children, whose memory is given back at the end."""

    def __init__(self, **policy: Any) -> None:
        self.world, self.teacher, self.trainer = Notes(), Listener(), Listener()
        self.slots = Slots.create(SlotPlan("", NUM_SLOTS, (8, 12), SIZE))
        self.buffers = Buffers.create(weights(0.0))
        settings = {"most_waiting": 1, "when_full": "drop_newest"} | policy
        self.traffic = Traffic(
            self.world,
            seconds=lambda: 0.0,
            slots=self.slots,
            buffers=self.buffers,
            weights=lambda: weights(0.0),
            **settings,
        )
        self.traffic.teacher, self.traffic.trainer = self.teacher, self.trainer  # type: ignore[assignment]
        self.traffic.heard_trainer(("ready", True))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.slots.remove()
        self.buffers.remove()

    def label(self) -> list[int]:
        """Have the teacher label what it was given; return the numbers of the frames."""
        numbers = []
        for slot, number, _ in self.teacher.take("label"):
            assert (self.slots.frames_NHWC[slot] == number).all()
            self.slots.labels_NHW[slot] = number
            self.traffic.heard_teacher(("labelled", slot, number, 0.0, 1.0))
            numbers.append(number)
        return numbers

    def empty(self) -> list[int]:
        """Have the trainer take what it was given; return the numbers of the frames."""
        numbers = []
        for slot, number in self.trainer.take("take"):
            assert (self.slots.small_NHWC[slot] == number).all()
            assert (self.slots.labels_NHW[slot] == number).all()
            self.traffic.heard_trainer(("taken", slot))
            numbers.append(number)
        return numbers
