"""Partial updates: AMS against a literal twin, what stays, what the camera gets, and that learning resumes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tiny_learner import CPU, NUM_CLASSES, PASSES, Pass, learn, make_bank, make_learner, make_student
from torch import Tensor, nn

from odkd.config.construct import construct
from odkd.config.known import CONF
from odkd.training.average import Average
from odkd.training.learn import Learner
from odkd.training.losses import CrossEntropy
from odkd.training.regularizers import Regularizer
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.updates import Entries, Selection, flat, num_selected
from odkd.training.updates.all import All
from odkd.training.updates.delivery import Delivery
from odkd.training.updates.ends import Ends
from odkd.training.updates.gradient_guided import GradientGuided
from odkd.training.updates.random import Random

SHARE = 0.1
SELECTIONS: dict[str, Callable[[], Selection]] = {
    "first_step": lambda: GradientGuided(SHARE, 0),
    "last_step": lambda: GradientGuided(SHARE, 0, guide="last_step"),
    "random": lambda: Random(SHARE, 0),
    "first": lambda: Ends(SHARE, "first", 0),
    "last": lambda: Ends(SHARE, "last", 0),
    "both": lambda: Ends(SHARE, "both", 0),
}
REGULARIZERS = sorted(path.stem for path in (CONF / "regularizer").glob("*.yaml"))
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adamw": lambda weights: torch.optim.AdamW(weights, 0.03, weight_decay=0.1),
    "adam fused": lambda weights: torch.optim.Adam(weights, 0.03, weight_decay=0.1, fused=True),
    "sgd": lambda weights: torch.optim.SGD(weights, 0.3, momentum=0.9, weight_decay=0.1, nesterov=True),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, 0.01, momentum=0.9),
}


def regularizer_of(choice: str, student: nn.Module) -> Regularizer:
    """Return a regularizer as its YAML file has it, that sets in after one pass."""
    node = OmegaConf.load(CONF / "regularizer" / f"{choice}.yaml")
    if "warmup_passes" in node:
        node.warmup_passes = 1
    offered = {"num_classes": NUM_CLASSES, "device": CPU, "student": student}
    return construct(node, (), offered, [], "regularizer")  # type: ignore[arg-type, no-any-return]


def learns(student: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters that learn."""
    return {name: p.detach().clone() for name, p in student.named_parameters() if p.requires_grad}


def phases(learner: Learner, passes: list[Pass] = PASSES) -> list[dict[str, float]]:
    """Learn one phase for each pass; return the metrics of what was sent."""
    found, bank = [], make_bank()
    for one in passes:
        learner.updates.begin()
        learn(learner, bank, [one, one])
        found.append(learner.updates.send())
    return found


def with_updates(learner: Learner, selection: Selection | None, sent: Any = None) -> Learner:
    average = None if learner.average is None else learner.average.network
    learner.updates = Delivery(learner.student, average, selection, sent)
    return learner


class Precise(nn.Sequential):
    """A student in float64: the first step of Adam is as large in all entries but for 1e-8, and float32 sees less."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.double())  # type: ignore[no-any-return]


def precise_student() -> nn.Module:
    student = Precise(*make_student()).double()
    student[0].bias.requires_grad_(False)
    return student


def ams(student: nn.Module, passes: list[Pass], guide: str, first: Entries | None) -> list[Tensor]:
    """Train as AMS, entry by entry; return the selected entries of each phase, bool [N]."""
    rate, beta1, beta2, epsilon = 0.03, 0.9, 0.999, 1e-8
    weights = [p for p in student.parameters() if p.requires_grad]
    size = sum(p.numel() for p in weights)
    m, v, u = torch.zeros(3, size, dtype=torch.float64)
    bank, loss, step, selected = make_bank(), CrossEntropy(), 0, []
    for number, one in enumerate(passes):
        mask = torch.ones(size, dtype=torch.bool)
        if guide == "last_step":
            mask = flat(first) if number == 0 and first is not None else top(u)
        is_first = True
        for positions in one.batches * 2:
            batch = bank.get(positions)
            student.zero_grad()
            loss(student(batch.images_BCHW), batch.labels["teacher"].long()).backward()
            gradient = torch.cat([p.grad.flatten() for p in weights if p.grad is not None])
            step += 1
            m = beta1 * m + (1 - beta1) * gradient
            v = beta2 * v + (1 - beta2) * gradient**2
            u = rate * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + epsilon)
            if is_first and guide == "first_step":
                mask = top(u)
            is_first = False
            with torch.no_grad():
                start = 0
                for p in weights:
                    stop = start + p.numel()
                    p -= (u * mask)[start:stop].view(p.shape)
                    start = stop
        selected.append(mask)
    return selected


def top(u: Tensor) -> Tensor:
    """Return flags of the largest updates, found by sorting."""
    order = sorted(range(len(u)), key=lambda index: -abs(u[index].item()))
    mask = torch.zeros(len(u), dtype=torch.bool)
    mask[order[: round(SHARE * len(u))]] = True
    return mask


@pytest.mark.parametrize("guide", ["first_step", "last_step"])
def test_gradient_guided_updates_are_those_of_ams(guide: Any) -> None:
    student, selection = precise_student(), GradientGuided(SHARE, 0, guide=guide)
    learner = with_updates(make_learner(student, NoRegularizer(), "adam"), selection)
    chosen = []
    end = learner.updates.send
    learner.updates.send = lambda: (chosen.append(flat(learner.updates._masks or {})), end())[1]  # type: ignore[method-assign]
    phases(learner)
    twin = precise_student()
    first = Random(SHARE, 0).choose(learns(twin))
    expected = ams(twin, PASSES, guide, first)
    assert [mask.nonzero().tolist() for mask in chosen] == [mask.nonzero().tolist() for mask in expected]
    assert len({str(mask.nonzero().tolist()) for mask in chosen}) > 2
    for one, other in zip(student.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def check_what_stays(learner: Learner) -> None:
    """Learn, and check that a phase changes a share of the entries, and no bit of the others."""
    bank, count = make_bank(), num_selected(SHARE, learns(learner.student))
    changed_before: Tensor | None = None
    differs = False
    for one in PASSES:
        before = flat(learns(learner.student))
        learner.updates.begin()
        learn(learner, bank, [one, one])
        masks = learner.updates._masks
        assert masks is not None
        assert int(flat(masks).sum()) == count
        learner.updates.send()
        changed = flat(learns(learner.student)) != before
        assert not (changed & ~flat(masks)).any()
        assert changed.any()
        differs |= changed_before is not None and not torch.equal(changed, changed_before)
        changed_before = changed
    assert differs


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_phase_changes_the_share_that_it_may(selection: str) -> None:
    check_what_stays(with_updates(make_learner(make_student(), NoRegularizer()), SELECTIONS[selection]()))


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_no_regularizer_moves_the_others(regularizer: str) -> None:
    student = make_student()
    learner = make_learner(student, regularizer_of(regularizer, student), "adam")
    check_what_stays(with_updates(learner, GradientGuided(SHARE, 0)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_optimizer_and_no_weight_decay_moves_the_others(optimizer: str) -> None:
    student = make_student(nn.BatchNorm2d(5))
    learner = make_learner(student, NoRegularizer())
    learner.optimizer = OPTIMIZERS[optimizer]([p for p in student.parameters() if p.requires_grad])
    check_what_stays(with_updates(learner, GradientGuided(SHARE, 0)))


def test_the_optimizer_goes_on_with_the_moments_of_all_entries() -> None:
    student = make_student()
    learner = with_updates(make_learner(student, NoRegularizer(), "adam"), Ends(SHARE, "last", 0))
    phases(learner, PASSES[:1])
    state = learner.optimizer.state[student[0].weight]
    assert (state["exp_avg"] != 0).all()
    assert torch.equal(student[0].weight, make_student()[0].weight)


def test_learning_before_a_stream_changes_all_weights_and_the_camera_has_them() -> None:
    learner = with_updates(make_learner(make_student(), NoRegularizer()), Random(SHARE, 0), "float16")
    before = flat(learns(learner.student))
    learn(learner, make_bank(), PASSES[:2])
    assert (flat(learns(learner.student)) != before).float().mean() > 0.9
    learner.updates.install()
    assert torch.equal(flat(learns(learner.student)), torch.cat([p.flatten() for p in trainable(learner)]))


def trainable(learner: Learner) -> list[Tensor]:
    names = learns(learner.student)
    return [p for name, p in learner.evaluated.named_parameters() if name in names]


def test_the_ends_are_whole_layers_and_a_part_of_the_one_at_the_border() -> None:
    weights = {"a": torch.zeros(4), "b": torch.zeros(10), "c": torch.zeros(6)}
    for end, expected in (("first", [4, 1, 0]), ("last", [0, 0, 5]), ("both", [2, 0, 3])):
        masks = Ends(0.25, end, 0).choose(weights)  # type: ignore[arg-type]
        assert masks is not None
        assert [int(mask.sum()) for mask in masks.values()] == expected
    whole = Ends(1.0, "both", 0).choose(weights)
    assert whole is not None
    assert flat(whole).all()
    one = Random(1e-9, 0).choose(weights)
    assert one is not None
    assert int(flat(one).sum()) == 1


@pytest.mark.parametrize("selection", [None, "first_step", "random"])
def test_the_camera_has_what_the_server_has_but_for_rounding(selection: str | None) -> None:
    def choose() -> Selection | None:
        return None if selection is None else SELECTIONS[selection]()

    student = make_student(nn.BatchNorm2d(5))
    plain, exact, rounded = (
        with_updates(make_learner(copy.deepcopy(student), NoRegularizer(), "adam"), choose(), sent)
        for sent in (None, "float32", "float16")
    )
    assert phases(plain) == [{}] * len(PASSES)
    sent = [phases(exact), phases(rounded)]
    for name, value in plain.evaluated.state_dict().items():
        assert torch.equal(value, exact.student.state_dict()[name])  # the student learns the same
        assert torch.equal(value, rounded.student.state_dict()[name])
        assert torch.equal(value, exact.evaluated.state_dict()[name])
        arrived = rounded.evaluated.state_dict()[name]
        never_sent = student.state_dict()[name]
        assert ((arrived == value.half().to(value.dtype)) | (arrived == never_sent)).float().mean() > 0.05
        torch.testing.assert_close(arrived, value, rtol=2**-10, atol=1e-6)
    share = [metrics["update/changed_share"] for metrics in sent[1]]
    assert max(share) > 0.9 if selection is None else max(share) < 0.3  # running statistics are sent, too
    assert all(0 < one["update/bytes"] < other["update/bytes"] for one, other in zip(sent[1], sent[0], strict=True))


def test_an_iteration_that_learns_nothing_sends_nothing() -> None:
    learner = with_updates(make_learner(make_student(), NoRegularizer()), None, "float16")
    assert learner.updates.send() == {"update/bytes": 0.0, "update/changed_share": 0.0}


def test_of_an_average_the_selected_entries_are_sent_and_no_others_move() -> None:
    learner = make_learner(make_student(), NoRegularizer())
    learner.average = Average(learner.student, 0.5)
    with_updates(learner, GradientGuided(SHARE, 0), "float32")
    for one in PASSES:
        before = flat(dict(learner.average.network.named_parameters())).clone()
        phases(learner, [one])
        after = flat(dict(learner.average.network.named_parameters()))
        assert 0 < int((after != before).sum()) <= num_selected(SHARE, learns(learner.student))
        assert torch.equal(after, flat(dict(learner.evaluated.named_parameters())))
        assert learner.evaluated is learner.updates.camera is not learner.average.network


@pytest.mark.parametrize("selection", SELECTIONS)
def test_learning_resumes_bit_for_bit(selection: str) -> None:
    def fresh() -> Learner:
        learner = make_learner(make_student(nn.BatchNorm2d(5)), NoRegularizer(), "adam")
        learner.average = Average(learner.student, 0.5)
        return with_updates(learner, SELECTIONS[selection](), "float16")

    whole, begun, resumed = fresh(), fresh(), fresh()
    sent = phases(whole)
    phases(begun, PASSES[:3])
    resumed.load_state_dict(copy.deepcopy(begun.state_dict()))
    assert phases(resumed, PASSES[3:]) == sent[3:]
    for one, other in ((whole.student, resumed.student), (whole.evaluated, resumed.evaluated)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("selection", ["first_step", "last_step", "random"])
def test_a_virtual_pass_changes_what_the_next_phase_would_and_nothing_of_the_student(selection: str) -> None:
    learner = with_updates(make_learner(make_student(), NoRegularizer(), "adam"), SELECTIONS[selection](), "float16")
    phases(learner, PASSES[:2])
    before = flat(learns(learner.student))
    state = copy.deepcopy(learner.state_dict()["updates"].get("selection"))
    virtual = learner.virtual_copy()
    virtual.learn(make_bank(), PASSES[2].batches[:1])
    assert torch.equal(flat(learns(learner.student)), before)
    assert str(learner.state_dict()["updates"]["selection"]) == str(state)
    changed = flat(learns(virtual.student)) != before
    learner.updates.begin()
    learner.learn(make_bank(), PASSES[2].batches[:1])
    assert torch.equal(flat(learns(learner.student)) != before, changed)
    assert 0 < int(changed.sum()) <= num_selected(SHARE, learns(learner.student))


def test_a_step_that_moves_nothing_guides_nothing() -> None:
    weights = {"a": torch.arange(10.0)}
    still, steps = {"a": torch.zeros(10)}, {"a": torch.arange(10.0) - 9}
    selection = GradientGuided(0.2, 0)
    assert selection.choose(weights) is None
    assert selection.refine(still) is None
    masks = selection.refine(steps)
    assert masks is not None
    assert masks["a"].nonzero().flatten().tolist() == [0, 1]
    assert selection.refine({"a": torch.arange(10.0)}) is None  # the masks of a phase are chosen once
    of_last = GradientGuided(0.2, 0, guide="last_step")
    for one in (steps, still):
        of_last.refine(one)
    chosen = of_last.choose(weights)
    assert chosen is not None
    assert chosen["a"].nonzero().flatten().tolist() == [0, 1]


def test_masks_of_another_network_are_a_message() -> None:
    class Wrong(Random):
        def choose(self, weights: Entries) -> Entries | None:
            return {name: torch.ones(3, dtype=torch.bool) for name in weights}

    learner = with_updates(make_learner(make_student(), NoRegularizer()), Wrong(SHARE, 0))
    with pytest.raises(ValueError, match=r"Wrong selects torch\.bool \(3,\) of 0\.weight; expected a bool mask"):
        learner.updates.begin()


def test_all_selects_every_entry() -> None:
    weights = learns(make_student())
    one, other = (with_updates(make_learner(make_student(), NoRegularizer()), chosen) for chosen in (All(), None))
    assert all(mask.all() for mask in All().choose(weights).values())  # type: ignore[union-attr]
    phases(one)
    phases(other)
    assert torch.equal(flat(learns(one.student)), flat(learns(other.student)))
