"""Warm-up and rates of parts of a student: what each update is made with, and that a resumed learner goes on alike."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cut_off import compare_with_cut_off, compare_with_cut_off_trainings
from tiny_learner import PASSES, learn, make_bank, make_learner, make_student

from odkd.students.rates import with_rates
from odkd.training.learn import Learner
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.warmup import warmup

Odkd = Callable[..., Path]


def warm_learner(updates: int = 6) -> Learner:
    learner = make_learner(make_student(), NoRegularizer())
    learner.schedule = warmup(learner.optimizer, updates=updates)
    return learner


def test_each_update_is_made_with_its_rate() -> None:
    learner, rates = warm_learner(), []
    learner.optimizer.register_step_pre_hook(lambda *_: rates.append(learner.optimizer.param_groups[0]["lr"]))
    learn(learner, make_bank(), PASSES)
    assert rates[:8] == pytest.approx([0.3 * share for share in (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1)])


def test_a_resumed_learner_goes_on_at_the_same_rate() -> None:
    undisturbed, first = warm_learner(), warm_learner()
    learn(undisturbed, make_bank(), PASSES)
    learn(first, make_bank(), PASSES[:2])
    resumed = warm_learner()
    resumed.load_state_dict(first.state_dict())
    learn(resumed, make_bank(), PASSES[2:])
    for name, value in undisturbed.student.state_dict().items():
        assert torch.equal(value, resumed.student.state_dict()[name])


def test_the_virtual_pass_leaves_the_schedule_where_it_is() -> None:
    learner = warm_learner()
    learn(learner, make_bank(), PASSES[:1])
    assert learner.schedule is not None
    before = learner.schedule.state_dict()
    learn(learner.virtual_copy(0.1), make_bank(), PASSES)
    assert learner.schedule.state_dict() == before


def test_groups_have_the_factors_of_their_names_and_the_last_pattern_counts() -> None:
    student = make_student()  # "0.bias" is frozen
    found = with_rates(student, {"0.*": 0.1, "2.*": 0.5, "2.bias": 2.0}, 0.2)
    named = {id(parameter): name for name, parameter in student.named_parameters()}
    groups = {tuple(named[id(p)] for p in group["params"]): group["lr"] for group in found}
    assert groups == pytest.approx({("0.weight",): 0.02, ("2.weight",): 0.1, ("2.bias",): 0.4})


def test_a_virtual_rate_keeps_the_factors() -> None:
    student = make_student()
    learner = make_learner(student, NoRegularizer())
    learner.optimizer = torch.optim.SGD(with_rates(student, {"0.*": 0.1}, 0.3), lr=0.3)
    groups = learner.virtual_copy(1.0).optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["student.rates={nothing.*:0.1}"], r"student.rates=nothing.\* matches no parameter"),
        (["student.rates={stem.*:0}"], r"use 'student.freeze=\[stem.\*\]'"),
        (["student.rates={stem.*:-1}"], "student.rates"),
        (["schedule=warmup", "schedule.updates=0"], "schedule.updates=0"),
        (["schedule=one_cycle"], "schedule=warmup, which counts updates"),
    ],
)
def test_wrong_settings_are_refused(odkd: Odkd, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odkd(*words)


@pytest.mark.slow
def test_runs_with_a_warmup_and_rates_learn_otherwise(odkd: Odkd) -> None:
    words = ["optimizer.lr=1e-2", "student.rates={stem.*:0.1}"]
    lines = [
        [
            json.loads(line)["metrics"]["learn/loss_total"]
            for line in (run / "metrics.jsonl").read_text().splitlines()[1:]
        ]
        for run in (odkd(*words[:1]), odkd(*words), odkd(*words, "schedule=warmup", "schedule.updates=50"))
    ]
    assert lines[0] != lines[1] != lines[2]
    assert all(loss == loss for losses in lines for loss in losses)


NEW = ["optimizer.lr=1e-3", "student.rates={stem.*:0.1}", "schedule=warmup", "schedule.updates=40"]
NEW += [
    "augmentation=class_mix",
    "augmentation.class_mix=0.9",
    "loss.label_smoothing=0.1",
    "loss.class_weights=inverse_root_frequency",
]


@pytest.mark.slow
def test_a_stream_that_is_cut_off_goes_on_with_the_schedule(odkd: Odkd, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [*NEW, "replay=class_balanced", "replay.capacity=9", "replay.smallest=5"]
    compare_with_cut_off(odkd, monkeypatch, settings, {1, 3})


@pytest.mark.slow
def test_trainings_that_are_cut_off_go_on_with_the_schedule(
    odkd: Odkd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = [*NEW, "stage=mckd", "stage.epochs=2", "dataset.stride=2"]
    assert compare_with_cut_off_trainings(odkd, monkeypatch, settings, tmp_path / "labels") > 4
