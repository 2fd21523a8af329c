"""Answers meet labels: which pixels count, when a window is complete, and that nothing grows."""

import math

import numpy as np
import pytest

from odkd.data.window import Window
from odkd.training.live.scoring import Scoring

CLASSES = ["road", "car"]


def full(value: int) -> np.ndarray:
    return np.full((2, 3), value, np.uint8)


def come(scoring: Scoring, number: int, answer: int, label: int | None, *, label_first: bool = False) -> None:
    scoring.arrived(number, float(number), "city")
    if label is not None:
        scoring.sent(number)
    if label is not None and label_first:
        scoring.labelled(number, full(label))
    scoring.answered(number, full(answer), learned_at=0.0)
    if label is not None and not label_first:
        scoring.labelled(number, full(label))


@pytest.mark.parametrize("label_first", [False, True])
def test_the_score_is_that_of_the_answer_whichever_comes_first(label_first: bool) -> None:
    scoring = Scoring(Window(learn=4, test=4, step=4), CLASSES)
    for number, (answer, label) in enumerate([(0, 0), (1, 0), (1, 1), (1, 1)]):
        come(scoring, number, answer, label, label_first=label_first)
    (step,) = [(step, scoring.metrics(step)) for step in scoring.complete()]
    # road: 1 of 2 frames hit, none too many; car: 2 hit of 3 answered.
    assert step[1]["test/miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert step[1]["test/accuracy"] == pytest.approx(3 / 4)
    # The label stays from 0 to 1 and from 2 to 3; the answer only from 2 to 3.
    assert step[1]["test/consistency"] == pytest.approx(1 / 2)


def test_a_window_waits_for_labels_and_answers_that_may_come_and_for_no_others() -> None:
    scoring = Scoring(Window(learn=2, test=2, step=2), CLASSES)
    come(scoring, 0, 0, 0)
    come(scoring, 1, 0, None)  # the pace has not sent it
    assert [(step.iteration, scoring.metrics(step)["test/accuracy"]) for step in scoring.complete()] == [(0, 1.0)]
    come(scoring, 2, 1, None)
    scoring.arrived(3, 3.0, "city")
    scoring.sent(3)
    scoring.answered(3, full(1), learned_at=0.0)
    assert not list(scoring.complete())
    scoring.lost(3)
    ((iteration, metrics),) = [(step.iteration, scoring.metrics(step)) for step in scoring.complete()]
    assert iteration == 1
    assert math.isnan(metrics["test/miou"])  # nothing was labelled


def test_windows_that_overlap_count_a_frame_in_each() -> None:
    scoring = Scoring(Window(learn=4, test=4, step=2), CLASSES)
    found = []
    for number in range(8):
        come(scoring, number, answer=0 if number < 4 else 1, label=0)
        found += [(step.position, scoring.metrics(step)["test/accuracy"]) for step in scoring.complete()]
    assert found == [(0, 1.0), (2, 0.5), (4, 0.0)]


def test_another_session_goes_on_with_its_own_frames() -> None:
    before = Scoring(Window(learn=2, test=2, step=2), CLASSES)
    for number in range(5):
        come(before, number, 0, 0)
        _ = [before.metrics(step) for step in before.complete()]
    after = Scoring(Window(learn=2, test=2, step=2), CLASSES, first=before.iteration, begin=5)
    after.load_state_dict(before.state_dict())
    found = []
    for number in range(5, 9):
        assert after.is_step(number) == (number in (5, 7))
        come(after, number, 1, 1)
        found += [(step.iteration, step.position, after.metrics(step)["test/miou"]) for step in after.complete()]
    assert found == [(2, 5, 1.0), (3, 7, 1.0)]
    assert after.total_KK.tolist() == [[24, 0], [0, 24]]


def test_a_long_session_keeps_no_more_than_a_short_one() -> None:
    scoring = Scoring(Window(learn=4, test=4, step=2), CLASSES)
    for number in range(3000):
        come(scoring, number, 0, 0)
        _ = [scoring.metrics(step) for step in scoring.complete()]
    assert len(scoring) <= 4
    assert len(scoring.so_far) <= 1000
