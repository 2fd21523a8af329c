"""Feature losses against literal twins of their equations, pixel by pixel, in float64."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from odkd.training.features import FeatureLoss
from odkd.training.features.attention import AttentionTransfer
from odkd.training.features.cirkd import PixelRelations
from odkd.training.features.cwd import ChannelWise
from odkd.training.features.mse import MeanSquaredError
from odkd.training.features.objective import FeatureObjective, at_size
from odkd.training.features.pair import Pair


def maps(channels: int, *, seed: int, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, channels, 4, 5, generator=generator, dtype=torch.float64)


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def kl(target: list[float], other: list[float]) -> float:
    return sum(p * (math.log(p) - math.log(q)) for p, q in zip(target, other, strict=True))


def twin_mse(student: Tensor, teacher: Tensor) -> float:
    numbers = list(zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in numbers) / len(numbers)


def twin_attention(student: Tensor, teacher: Tensor) -> float:
    def attention(features_CHW: Tensor) -> list[float]:
        channels, height, width = features_CHW.shape
        places = [
            sum(float(features_CHW[c, y, x]) ** 2 for c in range(channels)) / channels
            for y, x in itertools.product(range(height), range(width))
        ]
        length = math.sqrt(sum(place**2 for place in places))
        return [place / length for place in places]

    both = [(attention(a), attention(b)) for a, b in zip(student, teacher, strict=True)]
    return sum(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) / len(pair[0]) for pair in both) / len(both)


def twin_cwd(student: Tensor, teacher: Tensor, temperature: float) -> float:
    batch, channels = student.shape[:2]
    total = 0.0
    for i, c in itertools.product(range(batch), range(channels)):
        ours, theirs = (
            softmax([value / temperature for value in one[i, c].flatten().tolist()]) for one in (student, teacher)
        )
        total += kl(theirs, ours)
    return temperature**2 / (batch * channels) * total


def twin_cirkd(student: Tensor, teacher: Tensor, temperature: float, patch: int) -> float:
    def places(features_CHW: Tensor) -> list[list[float]]:
        _, height, width = features_CHW.shape
        found = []
        for y, x in itertools.product(range(0, height, patch), range(0, width, patch)):
            part_CP = features_CHW[:, y : y + patch, x : x + patch].flatten(1)
            mean = [sum(row) / len(row) for row in part_CP.tolist()]
            length = math.sqrt(sum(value**2 for value in mean))
            found.append([value / length for value in mean])
        return found

    def rows(one: list[list[float]], other: list[list[float]]) -> list[list[float]]:
        return [softmax([sum(a * b for a, b in zip(p, q, strict=True)) / temperature for q in other]) for p in one]

    ours, theirs = ([places(image) for image in batch] for batch in (student, teacher))
    total = 0.0
    for i, j in itertools.product(range(len(ours)), repeat=2):
        divergences = [
            kl(target, other) for target, other in zip(rows(theirs[i], theirs[j]), rows(ours[i], ours[j]), strict=True)
        ]
        total += sum(divergences) / len(divergences)
    return total / len(ours) ** 2


@pytest.mark.parametrize(
    ("loss", "twin", "channels"),
    [
        (MeanSquaredError(), twin_mse, (4, 4)),
        (AttentionTransfer(), twin_attention, (3, 6)),
        (ChannelWise(4.0), lambda s, t: twin_cwd(s, t, 4.0), (4, 4)),
        (ChannelWise(0.5), lambda s, t: twin_cwd(s, t, 0.5), (4, 4)),
        (PixelRelations(0.1, 1), lambda s, t: twin_cirkd(s, t, 0.1, 1), (3, 6)),
        (PixelRelations(1.0, 2), lambda s, t: twin_cirkd(s, t, 1.0, 2), (3, 6)),
    ],
)
def test_a_loss_equals_its_equation(loss: FeatureLoss, twin: object, channels: tuple[int, int]) -> None:
    student, teacher = maps(channels[0], seed=1), maps(channels[1], seed=2)
    expected = twin(student, teacher)  # type: ignore[operator]
    assert expected > 1e-3
    assert float(loss(student, teacher)) == pytest.approx(expected, abs=1e-6)
    assert float(loss(student.float(), teacher.float())) == pytest.approx(expected, rel=1e-5)
    if channels[0] == channels[1]:
        assert float(loss(teacher, teacher)) == pytest.approx(0, abs=1e-9)
    student.requires_grad_()
    loss(student, teacher).backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0


def test_channels_are_projected_where_a_loss_needs_it() -> None:
    losses: dict[str, FeatureLoss] = {
        "mse": MeanSquaredError(),
        "cwd": ChannelWise(1.0),
        "attention": AttentionTransfer(),
    }
    pairs = [Pair("a", "x", name) for name in losses] + [Pair("b", "x", name) for name in losses]
    objective = FeatureObjective(pairs, losses, {"a": 3, "b": 5}, {"x": 5})
    kinds = [type(projection) for projection in objective.projections]
    assert kinds == [nn.Conv2d, nn.Conv2d, nn.Identity, nn.Conv2d, nn.Identity, nn.Identity]
    assert objective.student_layers == ["a", "b"]


def test_pairs_are_weighted_added_by_loss_and_kept_apart() -> None:
    losses: dict[str, FeatureLoss] = {"mse": MeanSquaredError(), "cirkd": PixelRelations(1.0, 1)}
    pairs = [Pair("a", "x", "mse", 2.0), Pair("b", "x", "mse"), Pair("a", "x", "cirkd", 3.0)]
    torch.manual_seed(0)
    objective = FeatureObjective(pairs, losses, {"a": 4, "b": 4}, {"x": 4}).eval()
    student = {"a": maps(4, seed=1).float(), "b": maps(4, seed=2).float()}
    teacher = {"x": maps(4, seed=3).float()}
    found = objective(student, teacher)
    values = [
        losses[pair.loss](projection(student[pair.student]), teacher["x"])
        for pair, projection in zip(pairs, objective.projections, strict=True)
    ]
    torch.testing.assert_close(found["features_mse"], 2 * values[0] + values[1])
    torch.testing.assert_close(found["features_cirkd"], 3 * values[2])
    apart = objective(student, teacher, (1, 2))
    parts = [
        objective({name: one[rows] for name, one in student.items()}, {"x": teacher["x"][rows]})
        for rows in (slice(0, 1), slice(1, 3))
    ]
    for name, value in apart.items():
        torch.testing.assert_close(value, parts[0][name] + parts[1][name])


def test_the_teacher_s_map_comes_to_the_size_of_the_student_s() -> None:
    teacher = maps(4, seed=1)
    assert at_size(teacher, (4, 5)) is teacher
    assert at_size(teacher, (8, 10)).shape[2:] == (8, 10)
    flat = torch.full((1, 1, 8, 8), 3.0)
    assert torch.allclose(at_size(flat, (2, 4)), torch.full((1, 1, 2, 4), 3.0))
    halved = at_size(torch.tensor([0.0, 4.0]).repeat(8).view(1, 1, 1, 16), (1, 4))
    assert halved.mean() == pytest.approx(2.0, abs=0.2)  # averaged, not picked
