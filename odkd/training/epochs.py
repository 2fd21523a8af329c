"""A training over epochs, resumable: early stopping, the best epoch's student.

A training shuffles its positions anew each epoch, is scored on a validation set after each, and ends after
`epochs` or when `patience` epochs in a row were no better than the best; its student is that of the best epoch.
"""

import copy
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import save
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from odkd.common.metric_names import REFERENCES, metric_name
from odkd.common.seeds import named_seed
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.tally import Tally
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.lines import Record
from odkd.training.batches import batches_of_pass
from odkd.training.learn import Learner, check_finite

logger = logging.getLogger(__name__)
EpochRecord = tuple[Record, Record]  # an epoch's numbers and its timing; `trainings.py` counts them through
Tell = Callable[[Sequence[EpochRecord]], None]
ScheduleFactory = Callable[[torch.optim.Optimizer, int], LRScheduler]  # of an optimizer and its number of epochs
CHUNK = 64  # positions validated at once: memory does not grow with the split


@dataclass(frozen=True)
class EpochPlan:
    """How long, in what batches, and which epoch's student is kept.

    Args:
        epochs: at most.
        batch_size: pictures an update.
        drop_last: whether an epoch's last batch is left out where it is smaller.
        patience: epochs in a row without a better score after which a training ends; None = never.
        best_by: score on the validation set that is to be high (`metric_names.SCORES`).
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
    epochs: int | None = None  # at most; None = as the plan says


@dataclass
class Best:
    """The best epoch so far, its score, and its student's weights, on the CPU."""

    epoch: int
    score: float
    student: dict[str, Tensor]


def seed_name(name: str) -> str:
    """Return the word for a training that seeds its random choices: that of before rounds were called rounds.

    >>> seed_name("round_1/student_0")
    'stage_1/student_0'
    """
    return name.replace("round_", "stage_")


class Training:
    """One training, an epoch at a time. Resumes with its state and the learner's."""

    def __init__(
        self, learner: Learner, evaluator: Evaluator, task: Task, plan: EpochPlan, *, seed: int,
        schedule: ScheduleFactory | None,
    ) -> None:  # fmt: skip
        self.task, self.plan, self.num_done = task, plan, 0
        self.best: Best | None = None
        self._learner, self._evaluator = learner, evaluator
        self._seed = named_seed(seed, "training", seed_name(task.name))
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
            name: value for source, tally in tallies.items() for name, value in tally.scores("val", source).items()
        }
        name = metric_name("val", self.plan.best_by, self.plan.best_against or self.task.source)
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


class Trainer:
    """Trains students, each from the same initial weights, with one learner.

    A training has a folder, with a checkpoint of its own that also holds the records of its epochs: whichever process
    comes next goes on from there.
    """

    def __init__(
        self, learner: Learner, evaluator: Evaluator, plan: EpochPlan, *, seed: int,
        schedule: ScheduleFactory | None, checkpoint_overhead: float,
    ) -> None:  # fmt: skip
        self.learner, self.evaluator, self.plan = learner, evaluator, plan
        self._seed, self._schedule, self._overhead = seed, schedule, checkpoint_overhead
        self._initial = copy.deepcopy(learner.state_dict())

    def train(self, task: Task, folder: Path, tell: Tell) -> Training:
        """Train to the end, from where an earlier process left it; the learner then has the best epoch's student.

        `tell` is given the records of all epochs so far, whenever the disk has what makes them final.
        """
        learner = self.learner
        learner.restart(self._initial, source=task.source, soft_source=task.soft_source)
        begun_with = hashlib.sha256(weights_file(learner.student.state_dict())).hexdigest()
        plan = replace(self.plan, epochs=task.epochs or self.plan.epochs)
        training = Training(learner, self.evaluator, task, plan, seed=self._seed, schedule=self._schedule)
        checkpoint, records = Checkpoint(folder / "checkpoint.pt", overhead=self._overhead), list[EpochRecord]()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock", timeout=60):  # a process whose parent was killed may take a moment to notice
            if state := checkpoint.load():
                learner.load_state_dict(state["learner"])
                training.load_state_dict(state["training"])
                records = state["records"]
                tell(records)
                if not training.is_finished:
                    logger.info("%s goes on after %d epochs", task.name, training.num_done)
            while not training.is_finished:
                started = time.perf_counter()
                losses = training.learn()
                learned = time.perf_counter()
                metrics = losses | training.validate()
                evaluated = time.perf_counter()
                record = {
                    "training": task.name,
                    "epoch": training.num_done - 1,
                    "begun_with": begun_with,
                    "metrics": {f"{task.name}/{name}": value for name, value in metrics.items()},
                }
                records.append((record, _measure(task, learned - started, evaluated - learned)))
                if checkpoint.is_due() or training.is_finished:
                    states = {"learner": learner.state_dict(), "training": training.state_dict()}
                    checkpoint.save({**states, "records": records})
                    tell(records)
                self._report(training, metrics, evaluated - started)
        assert training.best is not None
        learner.student.load_state_dict(training.best.student)
        return training

    def _report(self, training: Training, metrics: Mapping[str, float], seconds: float) -> None:
        found = {name: metrics.get(metric_name("val", "miou", name)) for name in REFERENCES}
        mious = [f"{miou:.3f} {name}" for name, miou in found.items() if miou is not None]
        validation = f"validation mIoU {', '.join(mious)}" if training.task.validation else "no validation pictures"
        name, done, epochs = training.task.name, training.num_done, training.plan.epochs
        logger.info(
            "%s  epoch %d/%d  loss %.3f  %s  %.1f s%s",
            *(name, done, epochs, metrics["loss_total"], validation, seconds),
            "  no better since, stops here" if training.is_finished and done < epochs else "",
        )


def _measure(task: Task, learn_seconds: float, evaluate_seconds: float) -> dict[str, Any]:
    metrics = {
        "time/learn_seconds": learn_seconds,
        "time/evaluate_seconds": evaluate_seconds,
        "time/learn_frames_per_second": len(task.positions) / learn_seconds,
        "time/evaluate_frames_per_second": len(task.validation) / evaluate_seconds,
    }
    return {"time": time.time(), "metrics": metrics}


def weights_file(state: Mapping[str, Tensor]) -> bytes:
    """A student's weights as a safetensors file: of the same weights, the same bytes."""
    return save({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()})


def student_file(run_folder: Path, name: str) -> Path:
    """Where a run keeps a finished student, named as in the metrics: round_1/student_0, ..., final."""
    return run_folder / "students" / f"{name.replace('/', '-')}.safetensors"
