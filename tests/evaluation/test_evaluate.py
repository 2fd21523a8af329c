"""The evaluator: counts, steady pixels and losses worked by hand; batches change nothing; the teacher as predictor."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from tiny_learner import CPU, Labels, make_bank, make_student
from torch import Tensor, nn

from odkd.common.argmax import largest_class
from odkd.data.tensor_bank import Bank, Normalization
from odkd.evaluation.enlarge import at_size
from odkd.evaluation.evaluate import Evaluator, mean_ignoring_nan, score_metrics

# Frames of 1x4 pixels; the red value is the class that `RedIsClass` predicts.
PREDICTED = [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
TRUTH = [[0, 1, 0, 255], [0, 1, 0, 0], [0, 1, 0, 0]]
TEACHER = [[0, 1, 255, 0], [0, 1, 0, 0], [0, 1, 0, 255]]


class Red:
    """Frames whose red values are the rows of PREDICTED."""

    def read(self, positions: Sequence[int]) -> np.ndarray:
        frames = np.zeros((len(positions), 1, 4, 3), np.uint8)
        frames[..., 0] = np.array([PREDICTED[position] for position in positions])[:, None] * 255
        return frames


class Maps:
    """Label maps of one row each."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows

    def read(self, position: int) -> np.ndarray:
        return np.array([self.rows[position]], np.uint8)


class RedIsClass(nn.Module):
    """Student with logits (1 - red, red) * log 3, so probabilities 3/4 for the predicted class and 1/4."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        red_BHW = images_BCHW[:, 0]
        return torch.stack([1 - red_BHW, red_BHW], dim=1) * math.log(3)


@pytest.fixture
def bank() -> Iterator[Bank]:
    sources = {"teacher": Maps(TEACHER), "groundtruth": Maps(TRUTH)}
    with Bank(
        Red(),
        sources,
        num_classes=2,
        device=CPU,
        memory_bytes=10**6,
        normalization=Normalization(),
        channels_last=False,
    ) as bank:
        yield bank


def test_confusions_by_hand(bank: Bank) -> None:
    found = Evaluator(bank, 2, "float32", CPU).confusions(RedIsClass(), [0, 1, 2])
    assert found["groundtruth"].tolist() == [[[1, 1], [0, 1]], [[3, 0], [0, 1]], [[2, 1], [1, 0]]]
    assert found["teacher"].tolist() == [[[2, 0], [0, 1]], [[3, 0], [0, 1]], [[2, 0], [1, 0]]]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_scores_by_hand_do_not_depend_on_the_batch_size(bank: Bank, batch_size: int) -> None:
    evaluator = Evaluator(bank, batch_size, "float32", CPU)
    scores = evaluator.scores(RedIsClass(), [0, 1, 2])
    # Frames 0 to 1: pixels 0, 1, 2 of the truth are constant; 0 and 1 of the prediction, too. 1 to 2: all; 0 and 2.
    assert scores.steady["groundtruth"].tolist() == [[3, 2], [4, 2]]
    assert scores.steady["teacher"].tolist() == [[3, 3], [3, 2]]
    assert scores.predictions_NHW[:, 0].tolist() == PREDICTED
    for source, confusions_NKK in evaluator.confusions(RedIsClass(), [0, 1, 2]).items():
        assert torch.equal(scores.confusions[source], confusions_NKK)


def test_losses_by_hand_leave_out_ignored_pixels(bank: Bank) -> None:
    found = Evaluator(bank, 2, "float32", CPU).losses(RedIsClass(), [2, 0], "groundtruth")
    right, wrong = -math.log(3 / 4), -math.log(1 / 4)
    assert found.tolist() == pytest.approx([(2 * right + 2 * wrong) / 4, (2 * right + wrong) / 3])
    assert Evaluator(bank, 2, "float32", CPU).losses(RedIsClass(), [], "groundtruth").tolist() == []


def test_the_teacher_as_predictor_is_scored_where_it_has_labels(bank: Bank) -> None:
    found = Evaluator(bank, 2, "float32", CPU, predictor="teacher").confusions(RedIsClass(), [0, 2])
    assert found["groundtruth"].tolist() == [[[1, 0], [0, 1]], [[2, 0], [0, 1]]]
    assert found["teacher"].tolist() == [[[2, 0], [0, 1]], [[2, 0], [0, 1]]]


def test_pixels_near_a_border_are_not_scored(bank: Bank) -> None:
    found = Evaluator(bank, 2, "float32", CPU, border_pixels=1).confusions(RedIsClass(), [1])
    assert found["groundtruth"].tolist() == [[[1, 0], [0, 0]]]  # only the last pixel is not next to another class


def test_evaluation_restores_the_mode_of_the_student_and_changes_no_statistics() -> None:
    student = make_student(nn.BatchNorm2d(5), nn.Dropout2d(0.5)).train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    with make_bank() as bank:
        evaluator = Evaluator(bank, 2, "float32", CPU)
        first, second = (evaluator.predictions(student, [0, 1, 3]) for _ in range(2))
        assert student.training
        evaluator.confusions(student.eval(), [0])
        assert not student.training
    assert torch.equal(first, second), "dropout was on"
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())


def test_counts_of_a_frame_do_not_depend_on_its_batch() -> None:
    student = make_student()
    with make_bank() as bank:
        together = Evaluator(bank, 5, "float32", CPU).confusions(student, range(10))["teacher"]
        alone = Evaluator(bank, 1, "float32", CPU).confusions(student, range(10))["teacher"]
    assert torch.equal(together, alone)
    labelled = [(Labels().read(position) != 255).sum() for position in range(10)]
    assert together.sum((1, 2)).tolist() == labelled


def test_the_lowest_class_wins_a_tie() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 5.0], [0.0, 3.0, 5.0]]).T.reshape(3, 3, 1, 1)
    assert largest_class(logits).flatten().tolist() == [0, 0, 1]


def test_logits_are_resized_only_if_their_size_differs() -> None:
    logits = torch.tensor([0.0, 1.0], dtype=torch.float16).reshape(1, 1, 1, 2)
    assert at_size(logits, (1, 2)) is logits
    assert at_size(logits, (1, 4)).flatten().tolist() == [0, 0.25, 0.75, 1]


def test_metrics_of_a_window_by_hand() -> None:
    confusions = torch.tensor([[[1, 1], [0, 1]], [[4, 0], [0, 0]]])
    found = score_metrics(confusions, ["road", "sky"], "test", "groundtruth")
    assert found == {
        "test/accuracy_groundtruth": pytest.approx(6 / 7),
        "test/miou_groundtruth": pytest.approx((5 / 6 + 1 / 2) / 2),
        "test/miou_per_frame_groundtruth": pytest.approx((1 / 2 + 1) / 2),  # (1/2 + 1/2) / 2, and road alone
        "test/iou_groundtruth/road": pytest.approx(5 / 6),
        "test/iou_groundtruth/sky": pytest.approx(1 / 2),
    }


def test_undefined_values_do_not_count_in_means() -> None:
    assert mean_ignoring_nan([0.5, None, math.nan, 0.25]) == 0.375
    assert math.isnan(mean_ignoring_nan([None, math.nan]))
