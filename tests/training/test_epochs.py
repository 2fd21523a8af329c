"""Trainings over epochs: early stopping, the best epoch, resuming; scores of a split."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extras import need
from tiny_learner import CPU, Labels, make_bank, make_learner, make_student

from odkd.common.metric_names import metric_name
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.metrics import confusion_matrices, mean_iou
from odkd.evaluation.split_scores import agreement, reference_miou, score_labels, score_student
from odkd.evaluation.tally import Tally
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.run import OpenRun
from odkd.training.epochs import EpochPlan, Task, Training
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.trainer import Trainer
from odkd.training.trainings import Trainings

PLAN = EpochPlan(epochs=6, batch_size=2, drop_last=False, patience=2, best_by="miou", best_against=None)
TASK = Task("final", [0, 1, 3, 4, 5], "teacher", "teacher", [6, 7])


def evaluator() -> Evaluator:
    return Evaluator(make_bank(), batch_size=2, precision="float32", device=CPU)


def training(plan: EpochPlan = PLAN, task: Task = TASK) -> Training:
    learner = make_learner(make_student(), NoRegularizer())
    return Training(learner, evaluator(), task, plan, seed=0, schedule=None)


def follow(scores: list[float], plan: EpochPlan = PLAN) -> Training:
    """Run a training whose validation returns these scores; its bias is the number of the epoch."""
    one = training(plan)
    bias = one.learner.student[-1].bias
    one.task = Task("final", TASK.positions, "teacher", "teacher", [])
    for number, score in enumerate(scores):
        if one.is_finished:
            break
        bias.data.fill_(number)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Tally, "scores", lambda _, scope, reference, score=score: {metric_name(scope, "miou", reference): score}
            )
            one.validate()
    return one


def test_a_training_stops_after_patience_epochs_without_a_better_score_and_keeps_the_best_student() -> None:
    one = follow([0.1, 0.3, 0.2, 0.3, 0.9, 0.9])  # an equal score is not better
    assert (one.num_done, one.best.epoch, one.best.score) == (4, 1, 0.3)
    assert one.best.student["2.bias"].tolist() == [1.0] * 4


def test_a_better_score_within_patience_continues_the_training() -> None:
    one = follow([0.3, 0.2, 0.4, 0.3, 0.5, 0.1])
    assert (one.num_done, one.best.epoch) == (6, 4)


def test_without_patience_all_epochs_run_and_without_scores_the_last_student_is_kept() -> None:
    never = EpochPlan(6, 2, False, None, "miou", None)
    assert follow([0.9] + [0.1] * 9, never).num_done == 6
    undefined = follow([math.nan] * 9)
    assert (undefined.num_done, undefined.best.epoch) == (6, 5)
    assert follow([math.nan, 0.1, math.nan, math.nan, math.nan]).best.epoch == 1


def test_a_smaller_last_batch_can_be_left_out() -> None:
    sizes: list[int] = []
    for drop_last in (False, True):
        one = training(EpochPlan(1, 2, drop_last, None, "miou", None))
        bank = one._evaluator.bank
        original = bank.get
        bank.get = lambda positions, original=original: (sizes.append(len(positions)), original(positions))[1]  # type: ignore[method-assign]
        one.learn()
    assert sizes == [2, 2, 1, 2, 2]
    with pytest.raises(ValueError, match="all would be left out"):
        training(EpochPlan(1, 6, True, None, "miou", None))


def test_a_schedule_sets_the_learning_rate_of_each_epoch_and_resumes() -> None:
    def halved(optimizer: torch.optim.Optimizer, num_epochs: int) -> torch.optim.lr_scheduler.LRScheduler:
        assert num_epochs == 6
        return torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    def make() -> Training:
        learner = make_learner(make_student(), NoRegularizer())
        return Training(learner, evaluator(), TASK, EpochPlan(6, 2, False, None, "miou", None), seed=0, schedule=halved)

    one, rates = make(), []
    for _ in range(3):
        rates.append(one.learn()["learning_rate"])
        one.validate()
    other = make()
    other.learner.load_state_dict(one.learner.state_dict())
    other.load_state_dict(one.state_dict())
    while not other.is_finished:
        rates.append(other.learn()["learning_rate"])
        other.validate()
    assert rates == pytest.approx([0.3, 0.3, 0.15, 0.15, 0.075, 0.075])


def run_of(folder: Path) -> OpenRun:
    description = {"key": "k", "name": "n", "stage": "mckd", "params": {}, "tags": {}}
    return OpenRun(folder, description, checkpoint_overhead=1e9)


def test_trainings_interrupted_after_any_epoch_continue_bit_identically(tmp_path: Path) -> None:
    tasks = [TASK, Task("other", [1, 2, 8, 9], "teacher", "teacher", [3, 10])]

    class InterruptedTrainingError(Exception):
        pass

    def train_all(folder: Path, *, epochs_until_interrupt: int | None) -> Trainings:
        with run_of(folder).open({}, restart=False) as run, pytest.MonkeyPatch.context() as patch:
            learner = make_learner(make_student(torch.nn.Dropout(0.3)), NoRegularizer(), "adam")
            trainer = Trainer(learner, evaluator(), PLAN, seed=3, schedule=None, checkpoint_overhead=1e9)
            trainings = Trainings(run, trainer)
            left = epochs_until_interrupt
            original = Checkpoint.save

            def save(checkpoint: Checkpoint, state: dict[str, Any]) -> None:
                nonlocal left
                original(checkpoint, state)
                if left is not None:
                    left -= 1
                    if left == 0:
                        raise InterruptedTrainingError

            patch.setattr(Checkpoint, "save", save)
            for task in tasks:
                if task.name not in trainings.weights:
                    digest = trainings.train(task)
                    trainings.finish(task, digest, {f"{task.name}/x": 1.0})
            return trainings

    uninterrupted = train_all(tmp_path / "uninterrupted", epochs_until_interrupt=None)
    lines = (tmp_path / "uninterrupted" / "metrics.jsonl").read_text()
    for number in range(1, 6):
        folder = tmp_path / f"interrupted{number}"
        for _ in range(40):
            try:
                resumed = train_all(folder, epochs_until_interrupt=number)
                break
            except InterruptedTrainingError:
                continue
        assert (folder / "metrics.jsonl").read_text() == lines
        assert resumed.weights == uninterrupted.weights
        assert resumed.summary == uninterrupted.summary


def test_scores_of_a_split_equal_those_of_scikit_learn() -> None:
    sklearn = need("sklearn.metrics")
    random = np.random.default_rng(0)
    truth = random.choice([0, 1, 2, 255], (3, 9, 7), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
    given_labels = random.integers(0, 4, (3, 9, 7)).astype(np.uint8)  # class 3 only here, class 4 in neither
    tally = Tally(5)
    tally.add(confusion_matrices(torch.from_numpy(given_labels), torch.from_numpy(truth), 5))
    scored = truth != 255
    true, predicted = truth[scored], given_labels[scored]
    expected = {
        "s/f1_macro_x": sklearn.f1_score(true, predicted, average="macro"),
        "s/f1_weighted_x": sklearn.f1_score(true, predicted, average="weighted"),
        "s/accuracy_x": sklearn.accuracy_score(true, predicted),
        "s/miou_x": sklearn.jaccard_score(true, predicted, average="macro"),
    }
    found = tally.scores("s", "x")
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    pairs = zip(truth, given_labels, strict=True)
    frames = [sklearn.jaccard_score(t[t != 255], g[t != 255], average="macro") for t, g in pairs]
    assert found["s/miou_per_frame_x"] == pytest.approx(np.mean(frames))
    assert math.isnan(tally.class_scores(list("abcde"), "s", "x")["s/iou_x/e"])


def test_a_student_is_scored_at_the_size_of_the_labels() -> None:
    student, scorer = make_student(), evaluator()

    class Large:
        def read(self, position: int) -> np.ndarray:
            return np.kron(Labels().read(position), np.ones((3, 2), np.uint8))

    positions = [0, 1, 3, 9]
    same = score_student(scorer, student, positions, {"teacher": Labels()})["teacher"]
    assert torch.equal(same.total_KK, scorer.scores(student, positions).confusions["teacher"].sum(0))
    total_KK = torch.zeros(4, 4, dtype=torch.int64)
    for position in positions:
        with torch.inference_mode():
            logits = student.eval()(scorer.bank.get([position]).images_BCHW)
        predicted = torch.nn.functional.interpolate(logits, (24, 16), mode="bilinear").argmax(1)
        total_KK += confusion_matrices(predicted, torch.from_numpy(Large().read(position))[None], 4)[0]
    assert torch.equal(score_student(scorer, student, positions, {"x": Large()})["x"].total_KK, total_KK)


def test_the_metric_of_the_reference_code_is_a_mean_over_batches_at_128x128() -> None:
    student, scorer = make_student().eval(), evaluator()
    positions, values = [0, 1, 3, 5, 9], []
    for batch in ([0, 1, 3], [5, 9]):
        with torch.inference_mode():
            logits = student(scorer.bank.get(batch).images_BCHW)
        predicted = torch.nn.functional.interpolate(logits, (128, 128), mode="bilinear").argmax(1)
        truth = torch.from_numpy(np.stack([np.kron(Labels().read(p), np.ones((16, 16), np.uint8)) for p in batch]))
        values.append(mean_iou(confusion_matrices(predicted, truth, 4).sum(0)).item())
    found = reference_miou(scorer, student, positions, {"teacher": Labels()}, "s", batch_size=3)
    assert found == pytest.approx({"s/miou_128_batches": (3 * values[0] + 2 * values[1]) / 5})


def test_a_student_agrees_fully_with_itself_and_less_with_another() -> None:
    one, scorer = make_student(), evaluator()
    torch.manual_seed(7)
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1))
    assert agreement(scorer, [one, one], [0, 1, 3], "a") == {"a/miou": 1.0, "a/equal_pixels": 1.0}
    mixed = agreement(scorer, [one, other], [0, 1, 3], "a")
    assert mixed == agreement(scorer, [other, one], [0, 1, 3], "a")
    assert 0 <= mixed["a/miou"] <= mixed["a/equal_pixels"] < 1


def test_label_maps_are_scored_without_the_pixels_that_they_ignore() -> None:
    class Truth:
        def read(self, _: int) -> np.ndarray:
            return np.array([[0, 1], [2, 255]], np.uint8)

    class Given:
        def read(self, _: int) -> np.ndarray:
            return np.array([[0, 255], [1, 1]], np.uint8)

    tally, ignored = score_labels(Given(), Truth(), [0], 3)
    assert tally.total_KK.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert ignored == pytest.approx(1 / 3)
