"""Losses compared with those of torch and with naive loops."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.config.compose import compose_config
from odkd.config.construct import construct
from odkd.training.losses import CrossEntropy, SoftLabels, wants_soft
from odkd.training.losses.confident import Confident
from odkd.training.losses.dice import Dice
from odkd.training.losses.focal import Focal
from odkd.training.losses.kl import KlDivergence
from odkd.training.losses.soft import resize_labels, spread
from odkd.training.losses.weighted_sum import WeightedSum
from odkd.training.losses.weights import ClassWeights

Size = tuple[int, int]
CLASSES = pytest.mark.parametrize("num_classes", [2, 11, 19, 133, 150])


def scene(
    num_classes: int, *, dtype: torch.dtype = torch.float32, size: tuple[int, int] = (6, 5)
) -> tuple[Tensor, Tensor]:
    """Return logits and labels; some pixels are ignored and most classes are absent."""
    generator = torch.Generator().manual_seed(num_classes)
    logits = torch.randn(2, num_classes, *size, generator=generator, dtype=dtype)
    labels = torch.randint(min(num_classes, 4), (2, *size), generator=generator)
    labels[0, :2] = 255
    return logits.requires_grad_(), labels


def soft_scene(
    num_classes: int, k: int, size: tuple[int, int] = (6, 5), dtype: torch.dtype = torch.float64
) -> SoftLabels:
    """Return the k largest of a random distribution; one pixel has no soft label and one has only one class."""
    generator = torch.Generator().manual_seed(k)
    shares, ids = torch.randn(2, num_classes, *size, generator=generator, dtype=dtype).mul(2).softmax(1).topk(k, dim=1)
    ids = ids.to(torch.uint8)
    ids[1, :, 3, 3], shares[1, :, 3, 3] = 255, 0
    ids[1, 1:, 2, 2], shares[1, 1:, 2, 2] = 255, 0
    return SoftLabels(ids, shares)


@pytest.mark.parametrize("num_classes", [2, 11, 150])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_cross_entropy_and_its_gradient_equal_those_of_torch(num_classes: int, is_weighted: bool) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    logits = torch.randn(2, num_classes, 6, 5, generator=generator, requires_grad=True)
    labels = torch.randint(num_classes, (2, 6, 5), generator=generator)
    labels[0, :2] = 255
    weights = torch.rand(num_classes, generator=generator) if is_weighted else None
    ours = CrossEntropy(None if weights is None else weights.tolist())(logits, labels)
    (our_gradient,) = torch.autograd.grad(ours, logits)
    theirs = F.cross_entropy(logits, labels, weight=weights, ignore_index=255)
    (their_gradient,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("is_fast", [False, True])
def test_smoothed_labels_equal_a_naive_loop(weights: list[float] | None, is_fast: bool) -> None:
    logits, labels = scene(4)
    loss = CrossEntropy(weights, label_smoothing=0.2)
    loss.fast_forms = is_fast
    logs, factors, total, mass = logits.detach().log_softmax(1), weights or [1.0] * 4, 0.0, 0.0
    for b, i, j in (labels != 255).nonzero().tolist():
        label = int(labels[b, i, j])
        for k in range(4):
            share = 0.2 / 4 + 0.8 * (k == label)
            total -= factors[k] * share * logs[b, k, i, j].item()
        mass += factors[label]
    assert loss(logits, labels).item() == pytest.approx(total / mass, rel=1e-5)


def test_only_pixels_with_a_certain_label_count() -> None:
    logits, labels = scene(4)
    soft = SoftLabels(*(part[:, :1] for part in soft_scene(4, k=1)))
    counted = labels.clone()
    for b, i, j in (labels != 255).nonzero().tolist():
        share, label = soft.probabilities_BkHW[b, 0, i, j].item(), soft.classes_BkHW[b, 0, i, j].item()
        if label == 255 or share < 0.6:
            counted[b, i, j] = 255
    assert 0 < (counted != 255).sum() < (labels != 255).sum()
    torch.testing.assert_close(Confident(0.6)(logits, labels, soft), CrossEntropy()(logits, counted))


@CLASSES
def test_dice_equals_a_naive_loop_over_the_classes_that_occur(num_classes: int) -> None:
    logits, labels = scene(num_classes)
    overlaps = []
    for k in range(num_classes):
        overlap = predicted = labelled = 0.0
        for b, i, j in (labels != 255).nonzero().tolist():
            p = math.exp(logits[b, k, i, j].item()) / sum(math.exp(z) for z in logits[b, :, i, j].tolist())
            overlap += p * (labels[b, i, j].item() == k)
            predicted += p
            labelled += labels[b, i, j].item() == k
        if labelled:
            overlaps.append(2 * overlap / (predicted + labelled))
    assert len(overlaps) == min(num_classes, 4)
    assert Dice()(logits, labels).item() == pytest.approx(1 - sum(overlaps) / len(overlaps), abs=1e-6)


def test_dice_is_0_for_a_correct_prediction_and_1_for_a_wrong_one() -> None:
    labels = torch.tensor([[[0, 1, 255]]])
    right = F.one_hot(torch.tensor([[[0, 1, 2]]]), 3).permute(0, 3, 1, 2) * 100.0
    assert Dice()(right, labels).item() == pytest.approx(0, abs=1e-6)
    assert Dice()(right.roll(1, 1), labels).item() == pytest.approx(1, abs=1e-6)


@CLASSES
def test_dice_with_absent_classes_equals_that_of_mckds_reference_code(num_classes: int) -> None:
    """Its formula in plain words: per class over all pixels, smoothed by 1e-7, then the mean over all classes."""
    logits, labels = scene(num_classes, dtype=torch.float64)
    labels[0, :2] = 0  # that code ignores nothing
    probabilities = logits.softmax(1)
    total: Any = 0.0
    for k in range(num_classes):
        overlap, both = probabilities[:, k][labels == k].sum(), probabilities[:, k].sum() + (labels == k).sum()
        total = total + 1 - (2 * overlap + 1e-7) / (both + 1e-7)
    theirs = total / num_classes
    ours, left_out = Dice(absent="counted")(logits, labels), Dice()(logits, labels)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    gradients = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs, left_out)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-15)
    num_present = min(num_classes, 4)
    torch.testing.assert_close(gradients[0], gradients[2] * num_present / num_classes, rtol=1e-4, atol=1e-9)


@CLASSES
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_equals_a_naive_loop(num_classes: int, is_weighted: bool, gamma: float) -> None:
    logits, labels = scene(num_classes)
    weights = torch.rand(num_classes, generator=torch.Generator().manual_seed(1)).tolist() if is_weighted else None
    total = mass = 0.0
    for b, i, j in (labels != 255).nonzero().tolist():
        label = labels[b, i, j].item()
        p = math.exp(logits[b, label, i, j].item()) / sum(math.exp(z) for z in logits[b, :, i, j].tolist())
        weight = weights[label] if weights else 1.0
        total -= weight * (1 - p) ** gamma * math.log(p)
        mass += weight
    assert Focal(gamma, weights)(logits, labels).item() == pytest.approx(total / mass, abs=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
def test_focal_with_gamma_0_is_cross_entropy(weights: list[float] | None) -> None:
    logits, labels = scene(3)
    torch.testing.assert_close(Focal(0.0, weights)(logits, labels), CrossEntropy(weights)(logits, labels))


def test_focal_has_a_finite_gradient_for_a_certain_prediction() -> None:
    logits = torch.tensor([100.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    Focal(0.5)(logits, torch.tensor([[[0]]])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@CLASSES
@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_kl_of_all_classes_equals_that_of_torch_at_the_temperature(num_classes: int, temperature: float) -> None:
    logits, labels = scene(num_classes, dtype=torch.float64)
    teacher = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    shares, ids = teacher.softmax(1).topk(num_classes, dim=1)
    theirs = F.kl_div((logits / temperature).log_softmax(1), (teacher / temperature).softmax(1), reduction="none").sum(
        1
    )
    expected = theirs[labels != 255].mean() * temperature**2
    ours = KlDivergence(temperature)(logits, labels, SoftLabels(ids.to(torch.uint8), shares))
    assert ours.item() == pytest.approx(expected.item(), abs=1e-6)


@CLASSES
@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_kl_of_the_top_k_equals_a_naive_loop(num_classes: int, temperature: float) -> None:
    logits, labels = scene(num_classes)
    soft = soft_scene(num_classes, k=min(3, num_classes))
    divergences = []
    for b, i, j in (labels != 255).nonzero().tolist():
        known = {
            int(c): p
            for c, p in zip(
                soft.classes_BkHW[b, :, i, j].tolist(), soft.probabilities_BkHW[b, :, i, j].tolist(), strict=True
            )
            if c != 255
        }
        if not known:
            continue
        others = num_classes - len(known)
        p = [known.get(c, max(0.0, 1 - sum(known.values())) / max(others, 1)) for c in range(num_classes)]
        tempered = [value ** (1 / temperature) for value in p]
        q = [value / sum(tempered) for value in tempered]
        exps = [math.exp(z / temperature) for z in logits[b, :, i, j].tolist()]
        s = [e / sum(exps) for e in exps]
        divergences.append(sum(a * math.log(a / b) for a, b in zip(q, s, strict=True) if a > 0))
    assert len(divergences) == 2 * 30 - 10 - 1
    expected = temperature**2 * sum(divergences) / len(divergences)
    ours = KlDivergence(temperature)(logits.double(), labels, soft)
    assert ours.item() == pytest.approx(expected, abs=1e-6)
    single = KlDivergence(temperature)(logits, labels, SoftLabels(soft.classes_BkHW, soft.probabilities_BkHW.half()))
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=5e-3)  # float16, as stored


def test_kl_is_computed_at_the_size_of_the_soft_labels() -> None:
    logits, labels = scene(5, size=(12, 10))
    soft = soft_scene(5, k=2)
    smaller = F.interpolate(logits, size=(6, 5), mode="bilinear", align_corners=False)
    centres = labels[:, 1::2, 1::2]
    torch.testing.assert_close(KlDivergence(4.0)(logits, labels, soft), KlDivergence(4.0)(smaller, centres, soft))
    assert torch.equal(resize_labels(labels, (6, 5)), centres)


def test_kl_and_its_gradient_are_0_for_equal_student_and_teacher() -> None:
    soft = soft_scene(7, k=3)
    logits = spread(soft, 7, torch.float64).log().requires_grad_()
    loss = KlDivergence(10.0)(logits, torch.zeros(2, 6, 5, dtype=torch.long), soft)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert abs(loss.item()) < 1e-9
    assert gradient.abs().max() < 1e-9


def every_loss(num_classes: int) -> list[nn.Module]:
    weights = torch.rand(num_classes, generator=torch.Generator().manual_seed(0)).add(0.1).tolist()
    kinds = {"ce": CrossEntropy(), "dice": Dice(), "kl": KlDivergence(10.0)}
    return [
        CrossEntropy(),
        CrossEntropy(weights),
        Dice(),
        Focal(),
        Focal(2.0, weights),
        CrossEntropy(weights, label_smoothing=0.1),
        Confident(0.5),
        KlDivergence(1.0),
        KlDivergence(10.0),
        WeightedSum({"ce": 0.7, "dice": 0.2, "kl": 0.1}, kinds),
    ]


@pytest.mark.parametrize("number", range(10))
def test_gradients_equal_finite_differences(number: int) -> None:
    loss = every_loss(4)[number]
    logits, labels = scene(4, dtype=torch.float64, size=(4, 4))
    soft = [soft_scene(4, k=2, size=(4, 4))] if wants_soft(loss) else []
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, *soft), (logits,))


@pytest.mark.parametrize("number", range(10))
def test_a_batch_without_labels_has_loss_0_and_gradient_0(number: int) -> None:
    loss = every_loss(3)[number]
    logits = torch.randn(2, 3, 6, 5, requires_grad=True)
    soft = [soft_scene(3, k=2)] if wants_soft(loss) else []
    value = loss(logits, torch.full((2, 6, 5), 255), *soft)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("number", range(10))
def test_ignored_pixels_do_not_affect_the_loss(number: int) -> None:
    loss = every_loss(11)[number]
    logits, labels = scene(11)
    soft = [soft_scene(11, k=3)] if wants_soft(loss) else []
    value = loss(logits, labels, *soft)
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.permute(0, 2, 3, 1)[labels == 255].abs().max() == 0
    changed = torch.where((labels == 255)[:, None], torch.randn_like(logits) * 9, logits.detach())
    torch.testing.assert_close(loss(changed, labels, *soft), value.detach())


def test_a_weighted_sum_adds_its_parts_and_leaves_out_weight_0() -> None:
    logits, labels = scene(5)
    soft = soft_scene(5, k=2)
    parts = {"cross_entropy": CrossEntropy(), "dice": Dice(), "kl": KlDivergence(10.0), "focal": Focal()}
    loss = WeightedSum({"cross_entropy": 0.7, "dice": 0.2, "kl": 0.1, "focal": 0.0}, parts)
    found = loss.parts(logits, labels, soft)
    assert list(found) == ["cross_entropy", "dice", "kl"]
    expected = 0.7 * parts["cross_entropy"](logits, labels) + 0.2 * parts["dice"](logits, labels)
    expected = expected + 0.1 * parts["kl"](logits, labels, soft)
    torch.testing.assert_close(loss(logits, labels, soft), expected)
    torch.testing.assert_close(torch.stack(list(found.values())).sum(), expected)
    assert loss.needs_soft_labels
    assert not WeightedSum({"kl": 0.0, "dice": 1}, {"kl": KlDivergence(1.0), "dice": Dice()}).needs_soft_labels


def test_a_weighted_sum_passes_on_class_frequencies() -> None:
    measured, fixed = CrossEntropy("inverse_frequency"), CrossEntropy([1.0, 2.0])
    loss = WeightedSum({"a": 1, "b": 1, "c": 1}, {"a": measured, "b": fixed, "c": Focal(2.0, "inverse_frequency")})
    assert loss.weighs_classes
    loss.weigh(torch.tensor([30, 10, 0]))
    assert measured.class_weights is not None
    assert measured.class_weights.tolist() == [pytest.approx(4 / 3), 4, 0]  # 0 for a class without pixels
    assert fixed.class_weights is not None
    assert fixed.class_weights.tolist() == [1, 2]


def test_root_weights_are_the_square_root_of_the_inverse_frequency() -> None:
    weights = ClassWeights("inverse_root_frequency")
    weights.weigh(torch.tensor([75, 24, 1, 0]))
    assert weights.values_K is not None
    assert weights.values_K.tolist() == pytest.approx([(100 / 75) ** 0.5, (100 / 24) ** 0.5, 10, 0])


@pytest.mark.parametrize(
    ("weights", "name", "message"),
    [
        ({"a": 1.0}, "b", "each part one weight"),
        ({}, "a", "each part one weight"),
        ({"a": 0.0}, "a", "some above 0"),
        ({"a": -1.0}, "a", "some above 0"),
        ({"total": 1.0}, "total", "a part named total, the name of another metric"),
    ],
)
def test_an_impossible_sum_is_refused(weights: dict[str, float], name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedSum(weights, {name: Dice()})


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("kl", "temperature", 0, "loss.temperature=0; expected a number above 0"),
        ("kl", "temperature", float("inf"), "loss.temperature=inf; expected a number above 0"),
        ("focal", "gamma", -1, "loss.gamma=-1; expected a number of at least 0"),
        ("focal", "class_weights", "inverse", "loss.class_weights=inverse; .* did you mean inverse_frequency"),
        ("cross_entropy", "class_weights", 2, "loss.class_weights=2; expected a list of numbers"),
        ("cross_entropy", "class_weights", [1, "x"], "loss.class_weights=.*; expected a list"),
        ("cross_entropy_dice", "weights", 0.5, "loss.weights=0.5; expected a table"),
    ],
)
def test_wrong_settings_are_refused(name: str, setting: str, value: Any, message: str) -> None:
    node = compose_config([f"loss={name}"]).loss
    node[setting] = value
    with pytest.raises(ValueError, match=message):
        construct(node, (), {}, [], "loss")


def test_kl_without_soft_labels_names_the_setting_that_is_missing() -> None:
    with pytest.raises(ValueError, match=r"teacher\.soft\.top_k=3"):
        KlDivergence(1.0)(*scene(3), None)
