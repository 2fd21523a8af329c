"""Frames, labels, trainings and weights of a live session: who has what, and what is dropped."""

import pytest
import torch
from live_parts import Lab, arrival, report, weights

from odkd.training.live.traffic import NUM_SLOTS


def test_each_frame_reaches_the_teacher_and_with_its_label_the_trainer() -> None:
    with Lab() as lab:
        for number in range(20):
            lab.traffic.offer(number, arrival(number))
            assert lab.label() == [number]
            assert lab.empty() == [number]
        assert sorted(lab.world.labels) == list(range(20))
        assert lab.traffic.bytes_up == 20 * 8 * 12 * 3
        assert lab.traffic.is_labelled


@pytest.mark.parametrize(("policy", "left"), [("drop_newest", [0, 1]), ("drop_oldest", [0, 4])])
def test_a_busy_teacher_drops_by_policy_and_counts(policy: str, left: list[int]) -> None:
    with Lab(when_full=policy) as lab:
        for number in range(5):
            lab.traffic.offer(number, arrival(number))
        assert lab.traffic.is_full
        assert lab.label() + lab.label() == left
        assert sorted(lab.world.losses) == sorted({1, 2, 3, 4} - set(left))
        assert lab.traffic.stations["teacher"].num_dropped == 3
        assert not lab.traffic.is_full


def test_a_trainer_that_takes_nothing_never_makes_the_teacher_wait() -> None:
    with Lab() as lab:
        for number in range(12):
            lab.traffic.offer(number, arrival(number))
            assert lab.label() == [number]
        held = lab.empty()
        assert len(held) == NUM_SLOTS - 1
        assert lab.traffic.num_labels_dropped == 12 - len(held)


def test_a_teacher_that_dies_loses_its_frames_and_no_slot() -> None:
    with Lab() as lab:
        for round_number in range(3 * NUM_SLOTS):
            lab.traffic.offer(2 * round_number, arrival(0))
            lab.traffic.offer(2 * round_number + 1, arrival(1))
            lab.teacher.is_ready = False
            lab.traffic.offer(1000 + round_number, arrival(2))  # nobody is there
            lab.traffic.teacher_died()
            lab.teacher.is_ready = True
            lab.teacher.heard.clear()
            lab.traffic.heard_teacher(("ready",))
        assert len(lab.world.losses) == 9 * NUM_SLOTS
        assert not lab.world.labels
        lab.traffic.offer(500, arrival(7))
        assert [number for _, number, _ in lab.teacher.take("label")] == [500]


def test_of_two_sets_of_weights_that_wait_the_older_one_is_dropped() -> None:
    with Lab() as lab:
        buffers = [number for (number,) in lab.trainer.take("buffer")]
        assert sorted(buffers) == [0, 1]
        for number in range(2):
            lab.traffic.ask_training()
            lab.buffers.write(buffers[number], weights(float(number)))
            lab.traffic.heard_trainer(("trained", report(number, buffers[number])))
        assert lab.trainer.take("buffer") == [(buffers[0],)]
        new = lab.traffic.take_weights()
        assert new is not None
        assert torch.equal(lab.buffers.views(new.buffer, weights(0.0))["a"], weights(1.0)["a"])
        assert lab.traffic.take_weights() is None
        assert not lab.trainer.take("buffer")  # it is being read
        lab.traffic.used(new)
        assert lab.trainer.take("buffer") == [(buffers[1],)]
        assert lab.traffic.stations["down"].num_dropped == 1
        assert lab.traffic.bytes_down == 2 * (3 * 5 * 4 + 8 + 7 * 2)


def test_one_training_waits_and_others_are_left_out() -> None:
    with Lab() as lab:
        for _ in range(4):
            lab.traffic.ask_training()
        assert [order.number for (order,) in lab.trainer.take("train")] == [0]
        lab.traffic.heard_trainer(("trained", report(0, None)))
        assert [order.number for (order,) in lab.trainer.take("train")] == [1]
        assert lab.traffic.stations["trainer"].num_dropped == 2


def test_a_trainer_that_dies_leaves_complete_weights_and_the_next_one_gets_the_other_buffer() -> None:
    with Lab() as lab:
        given = [number for (number,) in lab.trainer.take("buffer")]
        lab.traffic.ask_training()
        lab.buffers.write(given[0], weights(5.0))
        lab.traffic.heard_trainer(("trained", report(0, given[0])))
        for number in range(3):
            lab.traffic.offer(number, arrival(number))
            lab.label()
        lab.traffic.ask_training()
        lab.traffic.trainer_died()
        lab.trainer.heard.clear()
        lab.traffic.heard_trainer(("ready", False))
        assert lab.trainer.take("weights") == [(given[1],)]  # it learns on from those that answer
        assert torch.equal(lab.buffers.views(given[1], weights(0.0))["a"], weights(0.0)["a"])
        new = lab.traffic.take_weights()
        assert new is not None
        assert lab.buffers.views(new.buffer, weights(0.0))["a"][0, 0] == 5.0
        for number in range(3, 10):
            lab.traffic.offer(number, arrival(number))
            assert lab.label() == [number]
            assert lab.empty() == [number]  # no slot is gone
