"""Frames that wait for the student, and labelled frames that wait for the trainer."""

import numpy as np
from live_parts import arrival

from odkd.training.live.inbox import Inbox
from odkd.training.live.kept import Kept
from odkd.training.live.waiting import MOST_WAITING, Queue, Waiting


def put(queue: Queue, first: int, last: int) -> None:
    for number in range(first, last):
        queue.put(Waiting(arrival(number), 0.04 * number, number if number % 5 == 0 else None))


def test_a_student_that_keeps_up_gets_all_frames_in_order() -> None:
    queue = Queue()
    put(queue, 0, 3)
    queue.took(0.01)
    put(queue, 3, 6)
    taken = [queue.take(0) for _ in range(6)]
    assert [t.frame.arrival.number for t in taken if t is not None] == list(range(6))
    assert not any(t.num_skipped for t in taken if t is not None)
    assert queue.take(0) is None
    assert not queue.is_over
    queue.end()
    assert queue.is_over


def test_a_student_that_cannot_keep_up_gets_the_newest_frame() -> None:
    queue = Queue()
    put(queue, 0, 2)
    queue.took(0.5)
    put(queue, 2, 13)
    taken = queue.take(0)
    assert taken is not None
    assert taken.frame.arrival.number == 12
    assert (taken.skipped, taken.num_skipped) == ((0, 5, 10), 12)
    put(queue, 13, 20)
    taken = queue.take(0)
    assert taken is not None
    assert (taken.frame.arrival.number, taken.skipped, taken.num_skipped) == (19, (15,), 6)


def test_no_more_than_a_few_frames_wait_whatever_the_student_does() -> None:
    queue = Queue()
    put(queue, 0, 1000)  # nobody takes
    taken = queue.take(0)
    assert taken is not None
    assert taken.frame.arrival.number == 1000 - MOST_WAITING
    assert taken.num_skipped == 1000 - MOST_WAITING


def test_a_student_that_is_fast_again_gets_all_frames_again() -> None:
    queue = Queue()
    put(queue, 0, 2)
    queue.took(0.05)
    assert not queue.keeps_up
    for _ in range(50):
        queue.took(0.01)
    assert queue.keeps_up


def test_the_trainer_takes_only_frames_that_came_before_its_training_was_due() -> None:
    inbox = Inbox(most=10)
    for number in (3, 1, 4):
        inbox.put(number, np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8))
    assert list(inbox.take(before=4)) == [1, 3]
    assert list(inbox.take(before=5)) == [4]


def test_frames_that_nobody_needs_any_more_are_forgotten() -> None:
    kept = Kept()
    for number in range(50):
        kept.put(number, np.full((2, 2, 3), number, np.uint8), np.full((2, 2), number, np.uint8))
        kept.retain([number, number - 1])
    assert (len(kept), len(kept.labels.maps)) == (2, 2)
    assert kept.read([49, 48])[:, 0, 0, 0].tolist() == [49, 48]
    assert kept.labels.read(48).max() == 48
