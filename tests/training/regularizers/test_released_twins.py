"""MAS and ER-ACE as released by Houyon et al. 2023: plain loops in the order of that code, with its counters.

The student has dropout and a batch norm without running statistics, as the released network has.
"""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from tiny_learner import (
    CPU,
    NUM_CLASSES,
    Pass,
    distance,
    make_bank,
    make_learner,
    make_optimizer,
    make_student,
    weights_of,
)
from torch import Tensor, nn

from odkd.data.labels.soft import SoftLabels
from odkd.training.apart import losses_apart
from odkd.training.batches import Order, batches_of_pass
from odkd.training.losses.dice import Dice
from odkd.training.losses.kl import KlDivergence
from odkd.training.losses.weighted_sum import WeightedSum
from odkd.training.regularizers import Regularizer, Update
from odkd.training.regularizers.ace import Ace
from odkd.training.regularizers.mas import Mas

FRESH = [[], [0, 1], [3, 4], [5, 6], [7, 8], [9, 10]]  # stream frames of each iteration; the first has no past
REPLAYED = [[], [], [1, 0], [4, 1, 3], [6, 0], [8, 5, 3]]


def student_of_the_release() -> nn.Sequential:
    return make_student(nn.BatchNorm2d(5, track_running_stats=False), nn.Dropout2d(0.25))


def frames(positions: list[int]) -> list[tuple[Tensor, Tensor]]:
    with make_bank() as bank:
        batches = [bank.get([position]) for position in positions]
        return [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]


def whole_pass(images_1CHW: Tensor) -> Update:
    labels_1HW = torch.zeros(1, *images_1CHW.shape[2:], dtype=torch.long)
    return Update(
        positions=(0,),
        images_BCHW=images_1CHW,
        labels_BHW=labels_1HW,
        is_replayed_B=torch.tensor([False]),
        ends_pass=True,
        kept=(0,),
        forward=lambda network, images: network(images),
        frames_of_pass=lambda: iter([(images_1CHW, labels_1HW)]),
    )


def passes(order: Order) -> list[Pass]:
    found = []
    for fresh, replayed in zip(FRESH, REPLAYED, strict=True):
        chosen = [*fresh, *replayed]
        batches = batches_of_pass(chosen, order, 1, stream_positions=fresh, seed=0, iteration=0, epoch=0)
        found.append(Pass(batches, fresh, chosen))
    return found


def learned(
    regularizer: Regularizer, student: nn.Sequential, passes: list[Pass], *, is_apart: bool = False
) -> list[Tensor]:
    learner = make_learner(student, regularizer, "adam")
    torch.manual_seed(1)
    with make_bank() as bank:
        for one in passes:
            learner.learn(bank, one.batches, stream_positions=one.stream_positions, kept=one.kept, is_apart=is_apart)
    return weights_of(student)


def released_mas(*, warmup: int, every: int, strength: float, decay: float) -> tuple[list[Tensor], int]:
    """Return the weights after the released loop, and the number of its consolidations."""
    student = student_of_the_release()
    optimizer, weights = make_optimizer(student, "adam"), [p for p in student.parameters() if p.requires_grad]
    omega: list[Tensor] = [torch.zeros_like(w) for w in weights]
    star = [torch.zeros_like(w) for w in weights]
    counter, is_first, num_consolidations = 0, True, 0
    torch.manual_seed(1)

    def consolidate(positions: list[int]) -> None:
        nonlocal omega, star, num_consolidations
        total = [torch.zeros_like(w) for w in weights]
        for image, _ in frames(positions):
            student.zero_grad()
            student(image).flatten(1).norm(dim=1).mean().backward()
            for sum_, weight in zip(total, weights, strict=True):
                assert weight.grad is not None
                sum_ += weight.grad.abs() / len(positions)
        omega = [decay * old + (1 - decay) * new for old, new in zip(omega, total, strict=True)]
        star = [w.detach().clone() for w in weights]
        num_consolidations += 1

    for one in passes("stream"):
        positions = [position for batch in one.batches for position in batch]
        if not positions:
            continue
        student.train()
        for image, labels in frames(positions):
            logits = student(image)
            optimizer.zero_grad()
            terms = [(o * (w - s) ** 2).sum() for o, w, s in zip(omega, weights, star, strict=True)]
            (F.cross_entropy(logits, labels, ignore_index=255) + strength * torch.stack(terms).sum()).backward()
            optimizer.step()
        if is_first and counter == warmup:
            is_first = False
            consolidate(positions)
            counter = 0
        if not is_first and counter == every:
            consolidate(positions)
            counter = 0
        counter += 1
    return weights_of(student), num_consolidations


def test_mas_as_released_equals_the_released_loop_with_its_counters_and_dropout() -> None:
    theirs, num_consolidations = released_mas(warmup=2, every=1, strength=1.0, decay=0.1)
    assert num_consolidations == 3
    student = student_of_the_release()
    settings = {"strength": 1.0, "decay": 0.1, "first_importance": "decayed", "update_every_passes": 1}
    regularizer = Mas(student, objective="map_norm", warmup_passes=2 + 1, **settings)  # type: ignore[arg-type]
    assert distance(learned(regularizer, student, passes("stream")), theirs) < 1e-6
    for other in ({"objective": "pixel_mean"}, {"objective": "map_norm", "warmup_passes": 2}):
        student = student_of_the_release()
        regularizer = Mas(student, **{"warmup_passes": 3} | settings | other)  # type: ignore[arg-type]
        assert distance(learned(regularizer, student, passes("stream")), theirs) > 1e-4


@pytest.mark.parametrize(("objective", "ratio"), [("pixel_mean", 1.0), ("map_norm", 4.0)])
def test_importances_of_the_map_grow_with_the_root_of_its_pixels(
    objective: Literal["pixel_mean", "map_norm"], ratio: float
) -> None:
    images = torch.arange(48.0).reshape(1, 3, 4, 4)
    omegas = []
    for shown in (images, images.repeat(1, 1, 4, 4)):  # the same pixels, 16 times
        student = nn.Conv2d(3, NUM_CLASSES, 1, bias=False)
        nn.init.constant_(student.weight, 0.1)
        times = {"warmup_passes": 1, "update_every_passes": 1}
        regularizer = Mas(student, strength=1, decay=0, objective=objective, first_importance="whole", **times)
        regularizer.after_update(student, whole_pass(shown))
        omegas.append(regularizer.state_dict()["omega"])
    torch.testing.assert_close(omegas[1], ratio * omegas[0])
    if objective == "map_norm":  # F = 0.1 S for each class, with S the sum over channels: d||F|| / dw = S x / (2 ||S||)
        sums_HW = images[0].sum(0)
        by_hand = (sums_HW * images[0]).sum((1, 2)) / (2 * sums_HW.norm())
        torch.testing.assert_close(omegas[0].reshape(NUM_CLASSES, 3), by_hand.expand(NUM_CLASSES, 3))


def released_ace() -> list[Tensor]:
    """Return the weights after the released loop, from the first pass on whose stream frames have partners."""
    student = student_of_the_release()
    optimizer = make_optimizer(student, "adam")
    seen: set[int] = set()
    torch.manual_seed(1)
    for fresh, replayed in zip(FRESH[2:], REPLAYED[2:], strict=True):
        student.train()
        paired, rest = replayed[: len(fresh)], replayed[len(fresh) :]
        for (image, labels), (old_image, old_labels) in zip(frames(fresh), frames(paired), strict=False):
            optimizer.zero_grad()
            present = set(labels.unique().tolist()) - {255}
            seen |= present
            logits = student(image)
            hidden = [k for k in range(NUM_CLASSES) if k in seen and k not in present]
            logits = logits.index_fill(1, torch.tensor(hidden, dtype=torch.long), -1e9)
            loss = F.cross_entropy(logits, labels, ignore_index=255)
            loss = loss + F.cross_entropy(student(old_image), old_labels, ignore_index=255)
            loss.backward()
            optimizer.step()
        for image, labels in frames(rest):
            optimizer.zero_grad()
            F.cross_entropy(student(image), labels, ignore_index=255).backward()
            optimizer.step()
    return weights_of(student)


def test_ace_with_kinds_forwarded_apart_equals_the_released_loop_and_in_one_batch_it_does_not() -> None:
    """Without the first passes: the released code learns nothing from stream frames without a partner."""
    theirs = released_ace()
    student = student_of_the_release()
    ours = learned(Ace(NUM_CLASSES, CPU), student, passes("paired_apart")[2:], is_apart=True)
    assert distance(ours, theirs) < 1e-6
    student = student_of_the_release()
    together = learned(Ace(NUM_CLASSES, CPU), student, passes("paired")[2:])
    assert distance(together, theirs) > 1e-3


def test_losses_with_soft_labels_are_summed_over_the_kinds_and_batches_of_one_kind_are_unchanged() -> None:
    logits, labels = torch.randn(3, 4, 2, 2), torch.randint(4, (3, 2, 2))
    shares, ids = logits.softmax(1).topk(2, dim=1)
    soft = SoftLabels(ids.to(torch.uint8), shares)
    loss = WeightedSum({"dice": 0.5, "kl": 0.5}, {"dice": Dice(), "kl": KlDivergence(2.0)})
    found = losses_apart(loss.parts, logits, labels, soft, (2, 1))
    first = loss.parts(logits[:2], labels[:2], SoftLabels(soft[0][:2], soft[1][:2]))
    second = loss.parts(logits[2:], labels[2:], SoftLabels(soft[0][2:], soft[1][2:]))
    for name, value in found.items():
        torch.testing.assert_close(value, first[name] + second[name])
    stream = [Pass([[0, 1], [3]], {0, 1, 3}, {0, 1, 3})]
    ones = [learned(Ace(NUM_CLASSES, CPU), student_of_the_release(), stream, is_apart=apart) for apart in (True, False)]
    assert distance(*ones) == 0
