"""Whose turn it is at a teacher that streams share, worked by hand."""

import json

from odkd.training.clock.turns import MostDrift, RoundRobin

A, B, C = (0, 0), (0, 1), (1, 0)  # student, stream among the student's


def waiting(*lanes: tuple[int, int]) -> list[tuple[int, int, int]]:
    """One frame of each lane: student, position, stream."""
    return [(student, 7, stream) for student, stream in lanes]


def test_each_stream_that_waits_has_its_turn_before_another_has_a_second_one() -> None:
    turns = RoundRobin()
    chosen = [turns.next(waiting(A, B, C)) for _ in range(6)]
    assert chosen == [0, 1, 2, 0, 1, 2]
    assert turns.next(waiting(C)) == 0
    assert turns.next(waiting(C, A)) == 1  # C has just had its turn


def test_the_stream_whose_student_has_become_less_sure_comes_first() -> None:
    turns = MostDrift()
    for confidence in (0.9, 0.9, 0.9):
        for lane in (A, B, C):
            turns.note(lane, confidence)
    assert turns.next(waiting(A, B, C)) == 0  # no drift anywhere: by turns
    for lane, confidence in ((A, 0.9), (B, 0.8), (C, 0.6)):
        turns.note(lane, confidence)
    # Mean of B: 0.875, of C: 0.825, so they miss 0.075 and 0.225, less the tolerance of 0.005 a frame.
    assert turns.next(waiting(A, B, C)) == 2
    assert turns.next(waiting(A, B, C)) == 1  # C begins anew after its turn
    assert turns.next(waiting(A, B, C)) == 0
    low = MostDrift()
    for _ in range(5):
        low.note(A, 0.3)
        low.note(B, 0.9)
    assert low.next(waiting(B, A)) == 1  # a student that was never sure has not drifted: the first one's turn


def test_turns_go_on_from_their_state() -> None:
    turns, other = MostDrift(), MostDrift()
    for lane, confidence in ((A, 0.9), (B, 0.9), (A, 0.5), (B, 0.6)):
        turns.note(lane, confidence)
    assert turns.next(waiting(A, B)) == 0
    other.load_state_dict(json.loads(json.dumps(turns.state_dict())))
    for each in (turns, other):
        each.note(A, 0.7)
        each.note(B, 0.5)
    assert [turns.next(waiting(A, B)) for _ in range(3)] == [other.next(waiting(A, B)) for _ in range(3)] == [1, 0, 1]
    assert other.state_dict() == turns.state_dict()
