"""A few slots of shared memory, each for a frame, the same frame at the student's size, and its label."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from odkd.data.video.arrivals import Arrival
from odkd.data.video.sizes import brought_to
from odkd.training.live.memory import make, remove


@dataclass(frozen=True)
class SlotPlan:
    """Where slots lie, as a child process is told.

    Args:
        name: of the shared memory; "" before it is made.
        num_slots: how many.
        frame: (height, width) of a frame as the teacher sees it.
        size: (height, width) of the student.
    """

    name: str
    num_slots: int
    frame: tuple[int, int]
    size: tuple[int, int]

    @property
    def parts(self) -> tuple[int, int, int]:
        """The bytes of frame, small frame and label."""
        (height, width), (small_height, small_width) = self.frame, self.size
        return 3 * height * width, 3 * small_height * small_width, small_height * small_width


class Slots:
    """The arrays of all slots, in the process that made them or in one that is attached to them."""

    def __init__(self, plan: SlotPlan, memory: SharedMemory) -> None:
        self.plan, self._memory = plan, memory
        large, small, label = plan.parts
        whole = np.ndarray((plan.num_slots, large + small + label), np.uint8, buffer=memory.buf)
        self.frames_NHWC = whole[:, :large].reshape(-1, *plan.frame, 3)
        self.small_NHWC = whole[:, large : large + small].reshape(-1, *plan.size, 3)
        self.labels_NHW = whole[:, large + small :].reshape(-1, *plan.size)

    @classmethod
    def create(cls, plan: SlotPlan) -> Slots:
        """Make the slots.

        Raises:
            ValueError: there is not enough shared memory.
        """
        memory = make(plan.num_slots * sum(plan.parts), "frames")
        return cls(SlotPlan(memory.name, plan.num_slots, plan.frame, plan.size), memory)

    @classmethod
    def attach(cls, plan: SlotPlan) -> Slots:
        """Return the slots that another process has made."""
        return cls(plan, SharedMemory(plan.name))

    def put(self, slot: int, arrival: Arrival) -> None:
        """Write a frame into a slot, at both sizes."""
        self.frames_NHWC[slot] = brought_to(arrival.image_HWC, self.plan.frame)
        self.small_NHWC[slot] = arrival.small_HWC

    def remove(self) -> None:
        """Give the memory back; the arrays must not be used any more."""
        del self.frames_NHWC, self.small_NHWC, self.labels_NHW
        remove(self._memory)
