"""Two buffers of shared memory for the weights of a student: one is written while the other waits to be used.

The trainer writes into a buffer that it was given, and says so when it is complete; so a trainer that is killed while
it writes leaves nothing that anybody reads. `Turns` knows, in the answering process, who has which buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import torch
from torch import Tensor

from odkd.training.live.memory import make, remove

ALIGNED = 64  # bytes
NUM_BUFFERS = 2


@dataclass(frozen=True)
class BufferPlan:
    """Where buffers lie, as a child process is told.

    Args:
        name: of the shared memory.
        num_bytes: of a buffer.
    """

    name: str
    num_bytes: int


class Buffers:
    """The buffers, in the process that made them or in one that is attached to them."""

    def __init__(self, plan: BufferPlan, memory: SharedMemory) -> None:
        self.plan, self._memory = plan, memory

    @classmethod
    def create(cls, weights: Mapping[str, Tensor]) -> Buffers:
        """Make the buffers for weights like these.

        Raises:
            ValueError: there is not enough shared memory.
        """
        num_bytes = sum(_room(tensor) for tensor in weights.values())
        memory = make(NUM_BUFFERS * num_bytes, "weights")
        return cls(BufferPlan(memory.name, num_bytes), memory)

    @classmethod
    def attach(cls, plan: BufferPlan) -> Buffers:
        """Return the buffers that another process has made."""
        return cls(plan, SharedMemory(plan.name))

    def write(self, number: int, weights: Mapping[str, Tensor]) -> None:
        """Write all weights into a buffer."""
        for tensor, place in zip(weights.values(), self.views(number, weights).values(), strict=True):
            place.copy_(tensor)

    def views(self, number: int, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights in a buffer, on the CPU; they change when it is written again.

        Args:
            like: weights of the same names, shapes and types, on any device.
        """
        start, found = number * self.plan.num_bytes, dict[str, Tensor]()
        for name, tensor in like.items():
            part = torch.frombuffer(self._memory.buf, dtype=torch.uint8, offset=start, count=_room(tensor))
            found[name] = part[: tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
            start += _room(tensor)
        return found

    def remove(self) -> None:
        """Give the memory back."""
        remove(self._memory)


def _room(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in a buffer, a multiple of the alignment: any type may begin there."""
    return max(1, -(-tensor.numel() * tensor.element_size() // ALIGNED)) * ALIGNED


class Turns:
    """Who has which buffer: the trainer, or the weights that wait to be used; the rest is free.

    >>> turns = Turns()
    >>> turns.give(), turns.give(), turns.give()
    (0, 1, None)
    >>> turns.written(0), turns.written(1)  # the older one is dropped
    (None, 0)
    >>> turns.give(), turns.take(), turns.take()
    (0, 1, None)
    >>> turns.used(1)
    >>> turns.give()
    1
    """

    def __init__(self) -> None:
        self._free = list(range(NUM_BUFFERS))
        self._waiting: int | None = None
        self._read: int | None = None

    def give(self) -> int | None:
        """Return a free buffer, which the trainer has from now on; None if there is none."""
        return self._free.pop(0) if self._free else None

    def written(self, number: int) -> int | None:
        """Note that a buffer holds new weights; return the one that is free because nobody will use its weights."""
        dropped, self._waiting = self._waiting, number
        if dropped is not None:
            self._free.append(dropped)
        return dropped

    def take(self) -> int | None:
        """Return the buffer with the weights that wait, to be read now; None if there are none."""
        if self._waiting is None:
            return None
        self._read, self._waiting = self._waiting, None
        return self._read

    def used(self, number: int) -> None:
        """Note that a buffer is read; it is free."""
        assert number == self._read
        self._read = None
        self._free.append(number)

    def trainer_is_gone(self) -> None:
        """Take back what a trainer had that has died."""
        kept = {self._waiting, self._read}
        self._free = [number for number in range(NUM_BUFFERS) if number not in kept]
