"""Trainings over epochs, one after another, as one resumable run: best checkpoint, early stopping, finished students.

A training shuffles its positions anew each epoch, is scored on a validation set after each, and ends after
`epochs` or when `patience` epochs in a row were no better than the best; its student is that of the best epoch.
"""

import copy
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from odkd.batches import batches_of_pass
from odkd.evaluate import Evaluator
from odkd.files import write_atomic
from odkd.learn import Learner, check_finite
from odkd.learning import ScheduleFactory
from odkd.runs import Run
from odkd.seeds import named_seed
from odkd.tally import Tally

logger = logging.getLogger(__name__)
CHUNK = 64  # positions validated at once: memory does not grow with the split


@dataclass(frozen=True)
class EpochPlan:
    """How long, in what batches, and which epoch's student is kept.

    Args:
        epochs: at most.
        batch_size: pictures an update.
        drop_last: whether an epoch's last batch is left out where it is smaller.
        patience: epochs in a row without a better score after which a training ends; None = never.
        best_by: score on the validation set that is to be high (`tally.SCORES`).
        best_against: its reference; None = the label source that the student learns from.

    Raises:
        ValueError: batches larger than what there is to learn from, all of it left out (when a training begins).
    """

    epochs: int
    batch_size: int
    drop_last: bool
    patience: int | None
    best_by: str
    best_against: str | None


@dataclass(frozen=True)
class Task:
    """One training: its name among the metrics, what it learns from, by which label sources, how it is judged."""

    name: str
    positions: Sequence[int]
    source: str
    soft_source: str  # of soft labels, where the loss wants them
    validation: Sequence[int]


@dataclass
class Best:
    """The best epoch so far, its score, and its student's weights, on the CPU."""

    epoch: int
    score: float
    student: dict[str, Tensor]


class Training:
    """One training, an epoch at a time. Resumes with its state and the learner's."""

    def __init__(
        self, learner: Learner, evaluator: Evaluator, task: Task, plan: EpochPlan, *, seed: int,
        schedule: ScheduleFactory | None,
    ) -> None:  # fmt: skip
        self.task, self.plan, self.num_done = task, plan, 0
        self.best: Best | None = None
        self._learner, self._evaluator = learner, evaluator
        self._seed = named_seed(seed, "training", task.name)
        self._scheduler = schedule(learner.optimizer, plan.epochs) if schedule else None
        if plan.drop_last and len(task.positions) < plan.batch_size:
            raise ValueError(
                f"{task.name} has {len(task.positions)} pictures to learn from and stage.batch_size={plan.batch_size}: "
                "all would be left out; lower it, or set stage.drop_last=false"
            )

    @property
    def is_finished(self) -> bool:
        """Whether no epoch is to come."""
        patience = self.plan.patience
        is_stale = patience is not None and self.best is not None and self.num_done - 1 - self.best.epoch >= patience
        return self.num_done >= self.plan.epochs or is_stale

    def learn(self) -> dict[str, float]:
        """One epoch: the mean of each loss over its updates, and the learning rate."""
        task, learner = self.task, self._learner
        torch.manual_seed(named_seed(self._seed, "epoch", self.num_done))  # dropout; a resumed run draws the same
        batches = batches_of_pass(
            task.positions, "shuffled", self.plan.batch_size,
            stream_positions=(), seed=self._seed, iteration=0, epoch=self.num_done,
        )  # fmt: skip
        if self.plan.drop_last and len(batches[-1]) < self.plan.batch_size:
            batches.pop()
        rate = float(learner.optimizer.param_groups[0]["lr"])
        losses = learner.learn(self._evaluator.bank, batches, stream_positions=frozenset(task.positions))
        check_finite(losses, f"epoch {self.num_done} of {task.name}")
        if self._scheduler is not None:
            self._scheduler.step()
        return {f"loss_{name}": loss for name, loss in losses.items()} | {"learning_rate": rate}

    def validate(self) -> dict[str, float]:
        """Scores on the validation set, at the student's size, against every label source; keeps the best student."""
        bank, student, validation = self._evaluator.bank, self._learner.student, self.task.validation
        tallies = {source: Tally(bank.num_classes) for source in bank.sources}
        for start in range(0, len(validation), CHUNK):
            found = self._evaluator.confusions(student, validation[start : start + CHUNK])
            for source, confusions_NKK in found.items():
                tallies[source].add(confusions_NKK)
        metrics = {
            f"val/{name}": value for source, tally in tallies.items() for name, value in tally.scores(source).items()
        }
        name = f"val/{self.plan.best_by}_{self.plan.best_against or self.task.source}"
        if name not in metrics:
            raise ValueError(
                f"stage.best_against={self.plan.best_against}: {self.task.name} has no such reference; "
                f"it is scored against {', '.join(tallies)}"
            )
        score = metrics[name]
        # Without a validation set every score is undefined: the last epoch's student is kept.
        if self.best is None or self.best.score != self.best.score or score > self.best.score:
            weights = {key: tensor.detach().cpu().clone() for key, tensor in student.state_dict().items()}
            self.best = Best(self.num_done, score, weights)
        self.num_done += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best is None else vars(self.best)
        schedule = None if self._scheduler is None else self._scheduler.state_dict()
        return {"num_done": self.num_done, "best": best, "schedule": schedule}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.num_done = state["num_done"]
        self.best = None if state["best"] is None else Best(**state["best"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["schedule"])


class Trainings:
    """Trainings one after another, each from the same initial weights, with one learner; what is done stays done.

    A finished student lies in the run's folder, students/NAME.safetensors; `weights` has the sha256 of each.
    What is worth telling of it goes into `summary`. All of this, and the training under way, resumes.
    """

    def __init__(
        self, run: Run, learner: Learner, evaluator: Evaluator, plan: EpochPlan, *, seed: int,
        schedule: ScheduleFactory | None,
    ) -> None:  # fmt: skip
        self.learner, self.evaluator = learner, evaluator
        self.weights: dict[str, str] = {}
        self.summary: dict[str, float] = {}
        self._run, self._plan, self._seed, self._schedule = run, plan, seed, schedule
        self._initial = copy.deepcopy(learner.state_dict())
        self._iteration = -1  # epochs of all trainings, counted through
        self._under_way: dict[str, Any] | None = None
        if state := run.resume():
            self.weights, self.summary, self._iteration = state["weights"], state["summary"], state["iteration"]
            self._under_way = state["under_way"]
            logger.info("resumed after %d epochs, %d students finished", self._iteration + 1, len(self.weights))

    def train(self, task: Task) -> str:
        """Train to the end, from where an earlier process left it; the learner then has the best epoch's student.

        Returns the sha256 of its weights. It counts as finished only after `finish`.
        """
        self.learner.restart(self._initial, source=task.source, soft_source=task.soft_source)
        begun_with = _digest(save(_plain(self.learner.student.state_dict())))
        training = Training(self.learner, self.evaluator, task, self._plan, seed=self._seed, schedule=self._schedule)
        if self._under_way is not None and self._under_way["name"] == task.name:
            self.learner.load_state_dict(self._under_way["learner"])
            training.load_state_dict(self._under_way["training"])
        while not training.is_finished:
            started = time.perf_counter()
            losses = training.learn()
            learned = time.perf_counter()
            metrics = losses | training.validate()
            evaluated = time.perf_counter()
            self._iteration += 1
            record = {
                "iteration": self._iteration,
                "training": task.name,
                "epoch": training.num_done - 1,
                "begun_with": begun_with,
                "metrics": {f"{task.name}/{name}": value for name, value in metrics.items()},
            }
            self._run.record(record, self._measure(task, learned - started, evaluated - learned))
            if self._run.is_checkpoint_due() or training.is_finished:
                states = {"learner": self.learner.state_dict(), "training": training.state_dict()}
                self._commit({"name": task.name, **states})
            self._report(task, training, metrics, evaluated - started)
        assert training.best is not None
        self.learner.student.load_state_dict(training.best.student)
        content = save(_plain(training.best.student))
        write_atomic(student_file(self._run.folder, task.name), content)
        found = {"best_epoch": training.best.epoch, "num_epochs": training.num_done, "val_best": training.best.score}
        self.summary |= {f"{task.name}/{name}": value for name, value in found.items()}
        return _digest(content)

    def finish(self, task: Task, digest: str, summary: Mapping[str, float]) -> None:
        """All that follows from this student is done and stored: it is not trained again."""
        self.weights[task.name] = digest
        self.summary |= summary
        self._under_way = None
        self._commit(None)

    def restore(self, name: str) -> None:
        """Give the learner the weights of a finished student."""
        path = student_file(self._run.folder, name)
        content = path.read_bytes()
        assert _digest(content) == self.weights[name], f"{path} is not what was trained"
        self.learner.student.load_state_dict(load(content))

    def _commit(self, under_way: dict[str, Any] | None) -> None:
        found = {"weights": self.weights, "summary": self.summary, "iteration": self._iteration}
        self._run.commit(found | {"under_way": under_way})

    def _measure(self, task: Task, learn_seconds: float, evaluate_seconds: float) -> dict[str, Any]:
        metrics = {
            "time/learn_seconds": learn_seconds,
            "time/evaluate_seconds": evaluate_seconds,
            "time/learn_frames_per_second": len(task.positions) / learn_seconds,
            "time/evaluate_frames_per_second": len(task.validation) / evaluate_seconds,
        }
        return {"iteration": self._iteration, "time": time.time(), "metrics": metrics}

    def _report(self, task: Task, training: Training, metrics: Mapping[str, float], seconds: float) -> None:
        mious = [f"{value:.3f} {name.removeprefix('val/miou_')}" for name, value in metrics.items() if name in _MIOUS]
        logger.info(
            "%s  epoch %d/%d  loss %.3f  validation mIoU %s  %.1f s%s",
            *(task.name, training.num_done, self._plan.epochs, metrics["loss_total"], ", ".join(mious), seconds),
            "  no better since, stops here" if training.is_finished and training.num_done < self._plan.epochs else "",
        )


_MIOUS = {f"val/miou_{source}" for source in ("teacher", "groundtruth", "previous_stage")}


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def student_file(run_folder: Path, name: str) -> Path:
    """Where a run keeps a finished student, named as in the metrics: stage_1/student_0, ..., final."""
    return run_folder / "students" / f"{name.replace('/', '-')}.safetensors"
