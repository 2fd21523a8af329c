"""The moving average of a student: its arithmetic, what it changes in a run, and that runs resume with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_keys import run_key
from safetensors.torch import load_file
from tiny_learner import PASSES, learn, make_bank, make_learner, make_student
from torch import nn

from odkd.config.compose import compose_config
from odkd.config.segmenter import load_student
from odkd.training.average import Average
from odkd.training.regularizers.none import NoRegularizer

Odkd = Callable[..., Path]


def test_an_average_follows_weights_and_statistics_update_by_update() -> None:
    student = make_student(nn.BatchNorm2d(5))
    average = Average(student, 0.9)
    expected = {name: value.double().clone() for name, value in student.state_dict().items()}
    learner = make_learner(student, NoRegularizer())
    learner.average = average
    followed = average.update
    updates: list[int] = []

    def update(network: nn.Module) -> None:
        followed(network)
        updates.append(1)
        for name, value in network.state_dict().items():
            expected[name] = (
                0.9 * expected[name] + 0.1 * value.double() if value.is_floating_point() else value.double()
            )

    average.update = update  # type: ignore[method-assign]
    learn(learner, make_bank(), PASSES)
    assert len(updates) == sum(len(one.batches) for one in PASSES)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(average.network[0].weight, student[0].weight)
    assert learner.evaluated is learner.saved is average.network


def test_a_student_learns_the_same_with_an_average_and_without() -> None:
    weights = []
    for decay in (None, 0.5):
        learner = make_learner(make_student(nn.BatchNorm2d(5)), NoRegularizer())
        learner.average = None if decay is None else Average(learner.student, decay)
        learn(learner, make_bank(), PASSES)
        weights.append(learner.student.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
def test_a_run_is_scored_by_its_average_and_saves_what_it_is_told(odkd: Odkd) -> None:
    runs = {
        words: odkd("optimizer.lr=1e-3", *words)
        for words in ((), ("student.ema=0.9",), ("student.ema=0.9", "student.saved=current"), ("student.ema=0",))
    }
    plain, average, current, zero = runs.values()
    lines = [
        [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in runs.values()
    ]
    for metrics in zip(*lines, strict=True):
        assert len({values.get("learn/loss_total") for values in metrics}) == 1  # it learns the same
    assert lines[0] != lines[1]
    assert lines[1] == lines[2]
    assert lines[0] == lines[3]  # an average that keeps nothing is the student
    weights = [load_file(run / "student.safetensors") for run in (plain, average, current, zero)]
    same = [all(torch.equal(weights[0][name], one[name]) for name in one) for one in weights]
    assert same == [True, False, True, True]
    loaded = load_student(average, device="cpu").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights[1].items())


def test_a_run_without_an_average_has_the_key_that_it_had(cache: Path) -> None:
    assert run_key(cache) == run_key(cache, "student.saved=current") == run_key(cache, "run.snapshots=2")
    assert len({run_key(cache, *words) for words in ((), ("student.ema=0.9",), ("student.ema=0.99",))}) == 3


def test_every_student_has_an_average_also_a_user_s_own(tmp_path: Path) -> None:
    own = tmp_path / "student" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("_target_: odkd.students.tinynet.TinyNet\nname: mine\nmean: null\nstd: null\nweights: null\n")
    cfg = compose_config(["student=mine", "student.ema=0.5"], str(tmp_path))
    assert (cfg.student.name, cfg.student.ema, cfg.student.saved) == ("mine", 0.5, "ema")


@pytest.mark.slow
def test_snapshots_are_the_student_after_their_iterations(odkd: Odkd) -> None:
    run = odkd("run.snapshots=2", "student.ema=0.9", "optimizer.lr=1e-3")
    last = len((run / "metrics.jsonl").read_text().splitlines()) - 1
    names = [f"iteration-{number:06d}" for number in range(2, last + 1, 2)]
    assert sorted(path.stem for path in (run / "students").iterdir()) == names
    shorter = load_student(run, "iteration/000002", device="cpu").network.state_dict()
    whole = load_student(run, device="cpu").network.state_dict()
    assert any(not torch.equal(value, whole[name]) for name, value in shorter.items())
    if last % 2 == 0:
        end = load_student(run, f"iteration/{last:06d}", device="cpu").network.state_dict()
        assert all(torch.equal(value, whole[name]) for name, value in end.items())


class Killed(BaseException):
    """What ends a run in the middle."""


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_average_and_snapshots(odkd: Odkd, monkeypatch: pytest.MonkeyPatch) -> None:
    from odkd.training.iteration import Journal

    words = ("student.ema=0.9", "run.snapshots=1", "optimizer.lr=1e-3", "run.checkpoint_overhead=1e9")
    whole = odkd(*words, "run.name=whole")
    report, seen = Journal.report, []

    def ends(journal: Journal) -> None:
        report(journal)
        seen.append(1)
        if len(seen) == 3:
            raise Killed

    monkeypatch.setattr(Journal, "report", ends)
    with pytest.raises(Killed):
        odkd(*words, "run.name=killed")
    run = odkd(*words, "run.name=killed")
    for name in ("metrics.jsonl", *(f"students/{path.name}" for path in (whole / "students").iterdir())):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    one, other = (load_file(folder / "student.safetensors") for folder in (whole, run))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_trainings_over_epochs_validate_and_keep_the_average(odkd: Odkd) -> None:
    words = ("stage=distill", "stage.epochs=2", "optimizer.lr=1e-3")
    plain, average = (odkd(*words, *more) for more in ((), ("student.ema=0.9",)))
    lines = [
        [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (plain, average)
    ]
    assert [line["final/loss_total"] for line in lines[0]] == [line["final/loss_total"] for line in lines[1]]
    assert lines[0] != lines[1]
    with pytest.raises(ValueError, match="saves the student of the best epoch, which is the average"):
        odkd(*words, "student.ema=0.9", "student.saved=current")
    with pytest.raises(ValueError, match=r"run\.snapshots=2 counts iterations of a stream, and stage=distill has none"):
        odkd(*words, "run.snapshots=2", "run.name=other")
