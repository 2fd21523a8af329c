"""Shared memory of a live session: frames in slots, weights in buffers, what it takes where there is too little."""

import errno
import os

import numpy as np
import pytest
import torch
from live_parts import SIZE, arrival, weights

from odkd.training.live.buffers import Buffers
from odkd.training.live.memory import make
from odkd.training.live.slots import SlotPlan, Slots


def test_what_is_put_into_a_slot_is_read_by_whoever_is_attached() -> None:
    slots = Slots.create(SlotPlan("", 3, (8, 12), SIZE))
    other = Slots.attach(slots.plan)
    try:
        for slot in range(3):
            slots.put(slot, arrival(10 + slot))
            other.labels_NHW[slot] = slot
        assert [other.frames_NHWC[slot].max() for slot in range(3)] == [10, 11, 12]
        assert [other.small_NHWC[slot].min() for slot in range(3)] == [10, 11, 12]
        assert [slots.labels_NHW[slot].mean() for slot in range(3)] == [0, 1, 2]
    finally:
        other.remove()
        slots.remove()


def test_a_frame_of_another_size_is_brought_to_that_of_the_slots() -> None:
    slots = Slots.create(SlotPlan("", 1, (4, 6), SIZE))
    try:
        slots.put(0, arrival(7))
        assert slots.frames_NHWC[0].shape == (4, 6, 3)
        assert np.abs(slots.frames_NHWC[0].astype(int) - 7).max() <= 1
    finally:
        slots.remove()


def test_weights_of_all_types_come_back_bit_for_bit() -> None:
    kept = weights(1.5) | {"flags": torch.tensor([True, False]), "none": torch.zeros(0)}
    buffers = Buffers.create(kept)
    other = Buffers.attach(buffers.plan)
    try:
        buffers.write(1, kept)
        buffers.write(0, {name: torch.zeros_like(tensor) for name, tensor in kept.items()})
        found = other.views(1, kept)
        assert all(
            torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in kept.items()
        )
        del found
    finally:
        other.remove()
        buffers.remove()


def test_too_little_shared_memory_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"no shared memory for weights .*--shm-size"):
        make(1000, "weights")
