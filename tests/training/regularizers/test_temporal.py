"""Temporal consistency: which frames and pixels are compared, a case worked by hand, and what it does in a run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from odkd.training.regularizers import Update
from odkd.training.regularizers.temporal import Temporal

Odkd = Callable[..., Path]


def update_of(positions: Sequence[int], labels_BHW: Tensor) -> Update:
    return Update(
        positions=tuple(positions),
        images_BCHW=torch.zeros(len(positions), 3, *labels_BHW.shape[1:]),
        labels_BHW=labels_BHW,
        is_replayed_B=torch.zeros(len(positions), dtype=torch.bool),
        ends_pass=True,
        kept=positions,
        forward=lambda network, images: network(images),
        frames_of_pass=lambda: iter(()),
    )


def test_the_penalty_is_the_mean_squared_difference_where_the_labels_agree() -> None:
    labels_BHW = torch.tensor([[[0, 1, 255, 0]], [[0, 0, 255, 0]]])
    p_BKHW = torch.tensor(
        [[[[0.9, 0.5, 0.5, 0.5]], [[0.1, 0.5, 0.5, 0.5]]], [[[0.6, 0.1, 0.1, 0.5]], [[0.4, 0.9, 0.9, 0.5]]]]
    )

    penalty = Temporal(alpha=2.0, max_distance=1).penalty(nn.Identity(), p_BKHW.log(), update_of([4, 5], labels_BHW))

    assert penalty is not None
    # Pixels 0 and 3 count: (0.3^2 + 0.3^2) and 0.
    assert penalty.item() == pytest.approx(2.0 * 0.18 / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("positions", "max_distance", "pairs"),
    [
        ((3, 1, 2), 1, [(1, 2), (2, 0)]),
        ((1, 3, 8), 2, [(0, 1)]),
        ((1, 1, 2), 1, [(1, 2)]),
        ((1, 3, 5), 1, []),
        ((7,), 1, []),
    ],
)
def test_frames_are_compared_with_the_next_one_of_the_batch(
    positions: tuple[int, ...], max_distance: int, pairs: list[tuple[int, int]]
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BKHW = torch.randn(len(positions), 3, 2, 2, generator=generator)
    labels_BHW = torch.zeros(len(positions), 2, 2, dtype=torch.int64)

    penalty = Temporal(alpha=1.0, max_distance=max_distance).penalty(
        nn.Identity(), logits_BKHW, update_of(positions, labels_BHW)
    )

    p_BKHW = logits_BKHW.softmax(1)
    expected = [(p_BKHW[a] - p_BKHW[b]).square().sum(0).mean() for a, b in pairs]
    if pairs:
        assert penalty is not None
        assert penalty.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)
    else:
        assert penalty is None


def test_labels_that_agree_nowhere_cost_nothing() -> None:
    labels_BHW = torch.tensor([[[0, 255]], [[1, 255]]])
    logits_BKHW = torch.randn(2, 3, 1, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)

    penalty = Temporal(alpha=1.0, max_distance=1).penalty(nn.Identity(), logits_BKHW, update_of([1, 2], labels_BHW))

    assert penalty is not None
    assert penalty.item() == 0
    penalty.backward()
    assert logits_BKHW.grad is not None
    assert not logits_BKHW.grad.any()


def test_a_pass_without_frames_to_compare_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    regularizer = Temporal(alpha=1.0, max_distance=1)
    update = update_of([3], torch.zeros(1, 2, 2, dtype=torch.int64))
    for _ in range(2):
        regularizer.penalty(nn.Identity(), torch.zeros(1, 3, 2, 2), update)
        regularizer.after_update(nn.Identity(), update)
    assert caplog.text.count("stage.batch_size=4 stage.order=stream") == 1


def test_a_student_that_learns_with_it_differs_less_from_frame_to_frame() -> None:
    images_BCHW = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels_BHW = (images_BCHW[:1, 0] > 0).long().expand(2, 8, 8)  # the second frame alone does not show them
    differences = []
    for alpha in (0.0, 1.0, 10.0):
        torch.manual_seed(0)
        student, regularizer = nn.Conv2d(3, 2, 1), Temporal(alpha=alpha, max_distance=1)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        for _ in range(50):
            logits_BKHW = student(images_BCHW)
            penalty = regularizer.penalty(student, logits_BKHW, update_of([1, 2], labels_BHW))
            assert penalty is not None
            optimizer.zero_grad()
            (nn.functional.cross_entropy(logits_BKHW, labels_BHW) + penalty).backward()
            optimizer.step()
        p_BKHW = student(images_BCHW).softmax(1)
        differences.append((p_BKHW[0] - p_BKHW[1]).square().mean().item())
    assert differences[0] > 2 * differences[1] > 4 * differences[2]


def test_a_run_adds_the_penalty_to_its_loss(odkd: Odkd) -> None:
    run = odkd("stage.batch_size=4", "stage.order=stream", "regularizer=temporal")
    lines = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["learn/loss_regularizer"] < 1 for line in lines[1:])  # the first window has nothing to learn
