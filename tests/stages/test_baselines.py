"""Baselines beside MCKD: literal twins of what each learns from, equal compute, the same splits, leaks and resuming."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cut_off import compare_with_cut_off_trainings
from plain_twin import PlainTwin
from safetensors.torch import load_file
from samples import one_of
from tiny_learner import CPU, Frames, Labels, make_bank, make_learner, make_student
from torch import Tensor, nn

from odkd.common.metric_names import pattern_of
from odkd.common.seeds import named_seed
from odkd.data.labels.soft import SoftLabels
from odkd.data.labels.store import SoftSpec
from odkd.data.splits import read_lists
from odkd.evaluation.evaluate import Evaluator
from odkd.stages.born_again import with_previous
from odkd.stages.cps import Crossing, Together, better_of, learn_across
from odkd.stages.mean_teacher import Consistency, add_noise, learn_consistently
from odkd.training.average import Average
from odkd.training.batches import batches_of_kinds
from odkd.training.epochs import Best, EpochPlan, Task, Training
from odkd.training.learn import Learner
from odkd.training.losses import CrossEntropy
from odkd.training.losses.kl import KlDivergence
from odkd.training.partly import only_labelled
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.trainer import Trainer

Odkd = Callable[..., Path]
BASELINES = ["cps", "self_training", "born_again", "mean_teacher"]
FAST = ["teacher.label_noise=0.1", "stage.patience=null", "run.overlay_video=false"]
TINY_PLAN = EpochPlan(epochs=3, batch_size=4, drop_last=False, patience=None, best_by="miou", best_against=None)
HALVES = ([0, 1, 5, 8, 9], [2, 3, 6, 7])  # position 2 has no labels


def summary(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "summary.json").read_text()))


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# --- the tiny pictures: images and labels as a twin reads them


def image(position: int) -> Tensor:
    return torch.from_numpy(Frames().read([position])).float().permute(0, 3, 1, 2) / 255


def images(positions: Sequence[int]) -> Tensor:
    return torch.cat([image(p) for p in positions])


def labels(positions: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.stack([Labels().read(p) for p in positions])).long()


def literal_batches(name: str, epoch: int, kinds: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """Shuffle each kind, and merge the kinds in proportion: image i of n at (i + 1/2) / n of the pass."""
    order: list[tuple[float, int, int]] = []
    for number, kind in enumerate(kinds):
        seed = named_seed(named_seed(0, "training", name), "order", 0, epoch, number)
        drawn = torch.randperm(len(kind), generator=torch.Generator().manual_seed(seed)).tolist()
        order += [((place + 0.5) / len(kind), number, kind[index]) for place, index in enumerate(drawn)]
    merged = [position for _, _, position in sorted(order)]
    return [merged[start : start + size] for start in range(0, len(merged), size)]


def trainer(learner: Learner, *others: Learner, plan: EpochPlan = TINY_PLAN) -> Trainer:
    scorer = Evaluator(make_bank(), batch_size=2, precision="float32", device=CPU)
    return Trainer(learner, scorer, plan, seed=0, schedule=None, checkpoint_overhead=1e9, others=others)


def equal(one: nn.Module, other: nn.Module) -> None:
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


def test_kinds_are_spread_evenly_over_as_many_batches_as_without() -> None:
    kinds = [list(range(7)), list(range(100, 114))]
    batches = batches_of_kinds(kinds, 4, seed=3, iteration=0, epoch=1)
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 1]
    assert sorted(position for batch in batches for position in batch) == sorted([*kinds[0], *kinds[1]])
    assert {sum(position < 100 for position in batch) for batch in batches[:5]} <= {1, 2}
    assert batches != batches_of_kinds(kinds, 4, seed=3, iteration=0, epoch=2)


def test_labels_of_other_positions_are_ignored() -> None:
    update = None

    def keep(one: Any, *_: Any) -> dict[str, Tensor]:
        nonlocal update
        update = one
        return {"total": torch.zeros(())}

    make_learner(make_student(), NoRegularizer()).learn(make_bank(), [[0, 3, 5]], step=keep)
    assert update is not None
    soft = SoftLabels(torch.zeros(3, 2, 4, 4, dtype=torch.uint8), torch.ones(3, 2, 4, 4))
    shown, shown_soft = only_labelled(update, soft, {3})
    assert torch.equal(shown.labels_BHW[1], labels([3])[0])
    assert (shown.labels_BHW[[0, 2]] == 255).all()
    assert shown_soft is not None
    assert (shown_soft.classes_BkHW == torch.tensor([255, 0, 255])[:, None, None, None]).all()


# --- cross pseudo supervision


def test_each_student_learns_from_its_half_and_from_what_the_other_answered_before_the_update(tmp_path: Path) -> None:
    """Two networks in plain loops: labels of the own half, classes of the other one on the other half, times lambda."""
    torch.manual_seed(5)
    learners = [make_learner(make_student(nn.BatchNorm2d(5)), NoRegularizer()) for _ in range(2)]
    with torch.no_grad():
        for parameter in learners[1].student.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    twins = [copy.deepcopy(one.student) for one in learners]
    crossings = [Crossing(1.5), Crossing(1.5)]
    for one, crossing in zip(learners, crossings, strict=True):
        one.regularizer = crossing
    both = sorted([*HALVES[0], *HALVES[1]])
    tasks = [
        Task(f"round_1/student_{n}", both, "teacher", "teacher", [4, 10], labelled=frozenset(half))
        for n, half in enumerate(HALVES)
    ]
    seen: list[int] = []
    learn = partial(learn_across, crossings=crossings)
    trained = trainer(*learners).train_together(tasks, tmp_path, lambda found: seen.append(len(found)), learn)
    assert seen == [2, 4, 6]  # a line for each student
    assert [one.num_updates for one in trained] == [9, 9]

    optimizers = [torch.optim.SGD([p for p in one.parameters() if p.requires_grad], 0.3) for one in twins]
    states: list[list[dict[str, Tensor]]] = [[], []]
    for epoch in range(3):
        kinds = [[p for p in both if p in HALVES[0]], [p for p in both if p in HALVES[1]]]
        for batch in literal_batches("stage_1/student_0", epoch, kinds, 4):
            for one in twins:
                one.train()
            logits = [one(images(batch)) for one in twins]
            answered = [found.detach().argmax(1) for found in logits]
            for n in (0, 1):
                own = [i for i, p in enumerate(batch) if p in HALVES[n] and p != 2]
                other = [i for i, p in enumerate(batch) if p in HALVES[1 - n]]
                loss = torch.zeros(())
                if own:
                    target = labels([batch[i] for i in own])
                    loss = loss + F.cross_entropy(logits[n][own], target, ignore_index=255)
                if other:
                    loss = loss + 1.5 * F.cross_entropy(logits[n][other], answered[1 - n][other])
                optimizers[n].zero_grad()
                loss.backward()
                optimizers[n].step()
        for n in (0, 1):
            states[n].append(copy.deepcopy(twins[n].state_dict()))
    for training, twin, found, one in zip(trained, twins, states, learners, strict=True):
        assert training.best is not None
        twin.load_state_dict(found[training.best.epoch])
        equal(twin, one.student)


def test_the_better_student_by_validation_is_the_final_one() -> None:
    def training(score: float) -> Training:
        learner = make_learner(make_student(), NoRegularizer())
        scorer = Evaluator(make_bank(), batch_size=2, precision="float32", device=CPU)
        one = Training(
            learner, scorer, Task("final", [0, 1, 3, 5], "teacher", "teacher", []), TINY_PLAN, seed=0, schedule=None
        )
        one.best = Best(0, score, {})
        return one

    for scores, number in {(0.1, 0.2): 1, (0.2, 0.1): 0, (0.2, 0.2): 0, (math.nan, 0.1): 1, (0.1, math.nan): 0}.items():
        pair = [training(score) for score in scores]
        assert better_of(*pair) is pair[number]
    unknown = [training(math.nan), training(math.nan)]
    assert better_of(*unknown) is unknown[0]


def test_common_scores_are_those_of_the_mean_probabilities() -> None:
    students = [make_student(), make_student(nn.Tanh())]
    expected = (students[0](image(3)).softmax(1) + students[1](image(3)).softmax(1)) / 2
    torch.testing.assert_close(Together(students)(image(3)), expected)


# --- mean teacher


def test_the_student_follows_labels_of_one_part_and_its_average_on_all(tmp_path: Path) -> None:
    """A network and its average in plain loops, for which the weight of the distance rises over half of the updates."""
    learner = make_learner(make_student(nn.BatchNorm2d(5)), NoRegularizer())
    twin = copy.deepcopy(learner.student)
    learner.average = Average(learner.student, 0.9)
    consistency = Consistency(learner.average.network, weight=20.0, ramp_up=0.5)
    learner.regularizer = consistency
    both = sorted([*HALVES[0], *HALVES[1]])
    task = Task("final", both, "teacher", "teacher", [4, 10], labelled=frozenset(HALVES[0]))
    learn = partial(learn_consistently, consistency=consistency)
    trained = trainer(learner).train(task, tmp_path, lambda _: None, learn)

    average, states, number = copy.deepcopy(twin).eval(), [], 0
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], 0.3)
    for epoch in range(3):
        for batch in literal_batches("final", epoch, [HALVES[0], HALVES[1]], 4):
            twin.train()
            logits = twin(images(batch))
            with torch.no_grad():
                followed = average(images(batch)).softmax(1)
            weight = 20.0 * math.exp(-5 * (1 - min(1.0, number / 9 / 0.5)) ** 2)
            loss = weight * F.mse_loss(logits.softmax(1), followed)
            if own := [i for i, p in enumerate(batch) if p in HALVES[0]]:
                target = labels([batch[i] for i in own])
                loss = loss + F.cross_entropy(logits[own], target, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            number += 1
            for name, value in average.state_dict().items():
                now = twin.state_dict()[name]
                value.copy_(0.9 * value + 0.1 * now if value.is_floating_point() else now)
        states.append(copy.deepcopy(average.state_dict()))
    assert number == trained.num_updates == 9
    assert trained.best is not None
    average.load_state_dict(states[trained.best.epoch])
    equal(average, learner.evaluated)


def test_the_weight_of_consistency_rises_as_in_the_paper() -> None:
    consistency = Consistency(make_student(), weight=2.0, ramp_up=0.5)
    for share, weight in {0.0: 2 * math.exp(-5), 0.25: 2 * math.exp(-1.25), 0.5: 2.0, 0.9: 2.0}.items():
        consistency.share = share
        assert consistency.weight == pytest.approx(weight)
    assert Consistency(make_student(), weight=2.0, ramp_up=0.0).weight == 2.0


def test_noise_is_on_the_images_of_a_student_that_learns_alone() -> None:
    student = make_student()
    clean, big = student(image(1)), torch.zeros(1, 3, 200, 200)
    student.register_forward_pre_hook(partial(add_noise, deviation=0.1))
    assert not torch.equal(student.train()(image(1)), clean)
    assert torch.equal(student.eval()(image(1)), clean)
    noisy = add_noise(student.train(), (big,), 0.1)
    assert noisy is not None
    assert noisy[0].std().item() == pytest.approx(0.1, rel=0.02)


# --- born-again networks


def test_a_loss_without_kl_gets_the_kl_to_the_student_before_and_one_with_kl_is_kept() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0])[None, :, None, None]
    soft = SoftLabels(
        torch.tensor([1, 0], dtype=torch.uint8)[None, :, None, None], torch.tensor([0.6, 0.3])[None, :, None, None]
    )
    own = [math.log(math.exp(2) + 1 + math.exp(-1)) - value for value in (2.0, 0.0, -1.0)]  # - log of probabilities
    kl = sum(share * (math.log(share) + minus) for share, minus in zip((0.3, 0.6, 0.1), own, strict=True))
    loss = with_previous(CrossEntropy(), 0.5)
    value = loss(logits, torch.tensor([[[2]]]), soft)  # type: ignore[call-arg]
    assert value.item() == pytest.approx(own[2] + 0.5 * kl, rel=1e-5)
    kept = KlDivergence(10.0)
    assert with_previous(kept, 0.5) is kept


# --- whole runs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage=cps", "stage.num_rounds=1", "stage.epochs=5"], "cannot be divided among two students"),
        (["stage=cps", "regularizer=ewc"], "has its own; set regularizer=none"),
        (["stage=cps", "loss.class_weights=inverse_frequency"], "counts the pixels of each class in all images"),
        (["stage=mean_teacher", "student.ema=0.9"], "has its own average, stage.ema"),
        (["stage=mean_teacher", "stage.ema=1.0"], "expected a number above 0 and below 1"),
        (["stage=mean_teacher", "stage.num_parts=99"], "cannot be split into stage.num_parts=99"),
        (["stage=self_training", "stage.num_rounds=1"], "stage.num_rounds=1; expected a whole number of at least 2"),
        (["stage=self_training", "stage.taught_share=1"], "expected a number above 0 and below 1"),
        (["stage=born_again", "stage.num_rounds=1"], "stage.num_rounds=1; expected a whole number of at least 2"),
        (["stage=born_again", "stage.shares=[0.5,0.2]"], "three shares"),
    ],
)
def test_settings_that_contradict_each_other_are_one_message(
    odkd: Odkd, overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        odkd(*overrides)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("stage", one_of(4, BASELINES))
def test_a_student_never_learns_from_an_image_outside_the_training_split(
    odkd: Odkd, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    learned: list[set[int]] = []  # positions of each update
    labelled: list[set[int]] = []  # those of them with labels
    step = Learner.step

    def watched(self: Learner, update: Any, *more: Any) -> dict[str, Tensor]:
        learned.append(set(update.positions))
        has_labels = (update.labels_BHW != 255).flatten(1).any(1).tolist()
        labelled.append({p for p, has in zip(update.positions, has_labels, strict=True) if has})
        return step(self, update, *more)

    monkeypatch.setattr(Learner, "step", watched)
    own = ["stage.common_scores=true"] if stage == "cps" else []
    run = odkd(f"stage={stage}", "stage.epochs=1", "dataset.stride=2", *own, *FAST)
    twin = PlainTwin(run)
    train = set(twin.lists["train"])
    assert set().union(*learned) == train
    assert not train & (set(twin.lists["val"]) | set(twin.lists["test"]))
    parts = [set(twin.lists[f"train_part_{n}"]) for n in (0, 1)] if "train_part_0" in twin.lists else []
    if stage == "cps":
        assert set().union(*labelled[::2]) == parts[0]
        assert set().union(*labelled[1::2]) == parts[1]
    elif stage == "mean_teacher":
        assert set().union(*labelled) == parts[0]
    else:
        assert set().union(*labelled) == train
        assert not parts
    names = {name for record in records(run) for name in record["metrics"]} | summary(run).keys()
    assert [name for name in names if pattern_of(name) is None] == []


@pytest.mark.slow
@pytest.mark.parametrize("num_rounds", [2, 4])
def test_all_have_the_splits_of_mckd_and_make_as_many_updates(odkd: Odkd, num_rounds: int) -> None:
    settings = [f"stage.num_rounds={num_rounds}", "stage.epochs=1", *FAST]
    runs = {stage: odkd(f"stage={stage}", *settings) for stage in ("mckd", *BASELINES)}
    assert {stage: summary(run)["num_updates"] for stage, run in runs.items()} == dict.fromkeys(runs, 6 * num_rounds)
    lists = {stage: read_lists(run / "splits") for stage, run in runs.items()}
    for stage, found in lists.items():
        assert found.items() <= lists["mckd"].items(), stage
    for stage in ("cps", "mean_teacher"):
        assert lists[stage] == lists["mckd"]
    scores = {"final/miou", "final/miou_groundtruth", "final/val_best", "final/best_epoch", "teacher/miou_groundtruth"}
    for stage, run in runs.items():
        assert scores <= summary(run).keys(), stage
        assert load_file(run / "student.safetensors").keys() == load_file(run / "students/final.safetensors").keys()
        assert (run / "confusion.npz").is_file()
    first = {records(runs[stage])[0]["begun_with"] for stage in runs}
    assert len(first) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "own", "num_points"),
    [
        ("cps", ["stage.common_scores=true"], 2 * 2 + 3),
        ("self_training", ["stage.taught_share=0.5"], 2 * 2 + 2),
        ("born_again", [], 2 * 2 + 2),
        ("mean_teacher", ["stage.noise=0.05"], 4 + 1),
    ],
)
def test_a_run_that_is_cut_off_at_any_epoch_or_end_of_a_training_ends_with_the_same_bits(
    odkd: Odkd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: str, own: list[str], num_points: int
) -> None:
    settings = [f"stage={stage}", "stage.epochs=2", "optimizer.lr=1e-3", "dataset.stride=2", *own, *FAST]
    assert compare_with_cut_off_trainings(odkd, monkeypatch, settings, tmp_path / "labels") == num_points


@pytest.mark.slow
def test_self_training_equals_a_plain_twin_to_the_bit(odkd: Odkd) -> None:
    run = odkd("stage=self_training", "stage.epochs=2", "optimizer.lr=1e-3", "stage.taught_share=0.6", *FAST)
    twin, adam = PlainTwin(run), partial(torch.optim.Adam, lr=1e-3)
    assert set(twin.lists["train_taught"]) < set(twin.lists["train"])
    assert len(twin.lists["train_taught"]) == 13  # of 21
    first = twin.train("round_1/student_0", twin.lists["train_taught"], twin.taught_NHW, adam)
    relabelled_NHW = torch.stack([twin.classes_of(first, p) for p in range(len(twin.names))])
    last = twin.train("final", twin.lists["train"], relabelled_NHW, adam)
    _same(first, run, "round_1-student_0")
    _same(last, run, "final")
    assert summary(run)["num_updates"] == 2 * 4 + 2 * 6


@pytest.mark.slow
def test_born_again_equals_a_plain_twin_to_the_bit(odkd: Odkd) -> None:
    """Cross-entropy of the teacher's labels, and KL at temperature 1 from the three likeliest classes of student 1."""
    run = odkd("stage=born_again", "stage.epochs=2", "optimizer=sgd", "optimizer.lr=0.05", "stage.weight=0.5", *FAST)
    twin, sgd = PlainTwin(run), partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=4e-5)
    first = twin.train("round_1/student_0", twin.lists["train"], twin.taught_NHW, sgd)
    _same(first, run, "round_1-student_0")
    shelf = replace(twin.parts.shelf, soft=SoftSpec(3, (32, 48)))
    stored = shelf.find(twin.parts.stream, run, 1, 0)
    first.eval()
    with torch.no_grad():
        said_NKHW = torch.cat([first(twin.images_NCHW[[p]]) for p in range(len(twin.names))]).softmax(1)
    followed_NKHW = torch.zeros_like(said_NKHW)
    for p in range(len(twin.names)):
        ids, shares = (torch.from_numpy(np.array(part)) for part in stored.read_soft(p))
        likeliest = said_NKHW[p].topk(3, 0)
        torch.testing.assert_close(shares, likeliest.values, rtol=5e-3, atol=1e-4)  # stored logarithms are float16

        followed_NKHW[p] = ((1 - shares.sum(0)).clamp(min=0) / 8).expand(11, -1, -1)
        followed_NKHW[p].scatter_(0, ids.long(), shares)
    followed_NKHW /= followed_NKHW.sum(1, keepdim=True)  # rounding of the stored shares

    def loss_of(logits: Tensor, chosen: list[int]) -> Tensor:
        kl = F.kl_div(logits.log_softmax(1), followed_NKHW[chosen], reduction="none").sum(1)
        return F.cross_entropy(logits, twin.taught_NHW[chosen]) + 0.5 * (kl.sum() / kl.numel())

    last = twin.train("final", twin.lists["train"], twin.taught_NHW, sgd, loss_of)
    _same(last, run, "final")


def _same(student: nn.Module, run: Path, name: str) -> None:
    stored = load_file(run / "students" / f"{name}.safetensors")
    assert all(torch.equal(stored[key], value) for key, value in student.state_dict().items()), name
