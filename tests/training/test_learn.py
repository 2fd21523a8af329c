"""Learning: updates and passes worked by hand, what a virtual copy shares, diverged losses."""

import copy
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny_learner import CPU, PASSES, Labels, learn, make_bank, make_learner, make_student, weights_of
from torch import Tensor, nn

from odkd.data.tensor_bank import Bank, Normalization
from odkd.training.learn import Learner
from odkd.training.loss_values import check_finite
from odkd.training.losses import CrossEntropy, Loss
from odkd.training.losses.weighted_sum import WeightedSum
from odkd.training.regularizers import Regularizer, Update
from odkd.training.regularizers.derpp import DerPP
from odkd.training.regularizers.none import NoRegularizer


class White:
    """Frames of one white pixel: normalised value 1 in each channel."""

    def read(self, positions: Sequence[int]) -> np.ndarray:
        return np.full((len(positions), 1, 1, 3), 255, np.uint8)


class OnePixel:
    """Label maps of one pixel: class 0 at even positions, class 1 at odd ones, 255 at position 9."""

    def read(self, position: int) -> np.ndarray:
        return np.full((1, 1), 255 if position == 9 else position % 2, np.uint8)


class Bias(nn.Module):
    """Student of one weight: its logits are (w, 0) for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        w_BHW = self.w.expand(len(images_BCHW), *images_BCHW.shape[2:])
        return torch.stack([w_BHW, torch.zeros_like(w_BHW)], dim=1)


class FromSecondUpdate(NoRegularizer):
    """Regularizer with the penalty 3 w from its second update on."""

    num_updates = 0

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        self.num_updates += 1
        return 3 * student.w if self.num_updates > 1 else None


def one_pixel_bank() -> Bank:
    return Bank(
        White(),
        {"teacher": OnePixel()},
        num_classes=2,
        device=CPU,
        memory_bytes=10**6,
        normalization=Normalization(),
        channels_last=False,
    )


def one_weight_learner(regularizer: Regularizer, loss: Loss | None = None) -> tuple[Bias, Learner]:
    student = Bias()
    optimizer = torch.optim.SGD(student.parameters(), 1.0)
    loss = loss or CrossEntropy()
    return student, Learner(student, optimizer, loss, regularizer, source="teacher", precision="float32", device=CPU)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_a_pass_by_hand_makes_one_update_per_batch_and_returns_mean_losses() -> None:
    student, learner = one_weight_learner(NoRegularizer())
    with one_pixel_bank() as bank:
        losses = learner.learn(bank, [[0], [0, 1], [9]])
    w = 1 - sigmoid(0.0)  # d CE / dw = p(class 0) - 1 for class 0
    first, second = math.log(2), 0.5 * (-math.log(sigmoid(w)) - math.log(1 - sigmoid(w)))
    w -= 0.5 * (sigmoid(w) - 1 + sigmoid(w))
    assert student.w.item() == pytest.approx(w)
    assert losses == {name: pytest.approx((first + second + 0) / 3) for name in ("cross_entropy", "total")}


def test_a_penalty_is_added_to_the_loss_and_counts_as_0_before_it_sets_in() -> None:
    student, learner = one_weight_learner(FromSecondUpdate())
    with one_pixel_bank() as bank:
        losses = learner.learn(bank, [[9], [0]])
    assert student.w.item() == pytest.approx(0.5 - 3)
    assert losses["regularizer"] == 0  # none in the first update, and w = 0 in the second
    with one_pixel_bank() as bank:
        again = learner.learn(bank, [[9], [9]])
    assert again["regularizer"] == pytest.approx((3 * -2.5 + 3 * -5.5) / 2)
    assert again["total"] == pytest.approx(again["cross_entropy"] + again["regularizer"])


def test_the_parts_of_a_loss_sum_to_the_total() -> None:
    loss = WeightedSum({"a": 0.25, "b": 2.0}, {"a": CrossEntropy(), "b": CrossEntropy()})
    _, learner = one_weight_learner(NoRegularizer(), loss)
    with one_pixel_bank() as bank:
        losses = learner.learn(bank, [[0]])
    assert losses == pytest.approx({"a": 0.25 * math.log(2), "b": 2 * math.log(2), "total": 2.25 * math.log(2)})


def test_no_batches_return_no_losses_and_change_no_weights() -> None:
    learner = make_learner(make_student(), NoRegularizer(), "adam")
    before = weights_of(learner.student)
    with make_bank() as bank:
        assert learner.learn(bank, []) == {}
    assert all(map(torch.equal, before, weights_of(learner.student)))


def test_hooks_see_which_frames_are_replayed_and_where_a_pass_ends() -> None:
    seen: list[tuple[tuple[int, ...], list[bool], bool, list[int]]] = []

    class Recorder(NoRegularizer):
        def after_update(self, student: nn.Module, update: Update) -> None:
            frames = [int(labels[0, 0, 0]) for _, labels in update.frames_of_pass()]
            seen.append((update.positions, update.is_replayed_B.tolist(), update.ends_pass, frames))

    _, learner = one_weight_learner(Recorder())
    with one_pixel_bank() as bank:
        learner.learn(bank, [[4, 1], [9]], stream_positions={4}, kept={1})
    assert seen == [((4, 1), [False, True], False, [0, 1, 255]), ((9,), [True], True, [0, 1, 255])]


def test_class_frequencies_are_those_of_the_pass() -> None:
    loss = CrossEntropy("inverse_frequency")
    _, learner = one_weight_learner(NoRegularizer(), loss)
    with one_pixel_bank() as bank:
        learner.learn(bank, [[0, 1], [2, 4], [9]])
        assert loss.class_weights is not None
        assert loss.class_weights.tolist() == [pytest.approx(4 / 3), 4]
        learner.learn(bank, [[1], [3, 1]])  # position 1 counts twice
        assert loss.class_weights.tolist() == [0, 1]


def test_a_virtual_copy_learns_alone_and_without_the_regularizer() -> None:
    learner = make_learner(make_student(), DerPP(CPU, alpha=1.0, pool=8), "adam")
    with make_bank() as bank:
        learn(learner, bank, PASSES[:2])
        before, stored = weights_of(learner.student), learner.regularizer.state_dict()["positions"]
        copied = learner.virtual_copy(learning_rate=0.5)
        assert copied.optimizer.param_groups[0]["lr"] == 0.5
        losses = copied.learn(bank, [[7, 3]])
    assert "regularizer" not in losses
    assert learner.optimizer.param_groups[0]["lr"] == 0.03
    assert all(map(torch.equal, before, weights_of(learner.student)))
    assert not all(map(torch.equal, before, weights_of(copied.student)))
    assert learner.regularizer.state_dict()["positions"] == stored


def test_a_restarted_learner_repeats_its_first_training_bit_for_bit() -> None:
    learner = make_learner(make_student(), NoRegularizer(), "adam")
    initial = copy.deepcopy(learner.state_dict())
    with make_bank() as bank:
        bank.use("copy", Labels(), soft=())
        first, weights = learn(learner, bank, PASSES), weights_of(learner.student)
        for source in ("teacher", "copy"):  # two sources with the same labels
            learner.restart(initial, source=source, soft_source=source)
            assert learn(learner, bank, PASSES) == first
            assert all(map(torch.equal, weights, weights_of(learner.student)))


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan])
def test_a_diverged_loss_is_named(loss: float) -> None:
    check_finite({"total": 1e30}, "iteration 3")
    with pytest.raises(ValueError, match=r"the loss \(kl\) is not finite in iteration 3"):
        check_finite({"cross_entropy": 0.0, "kl": loss}, "iteration 3")
