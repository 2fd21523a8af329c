"""A training over epochs, one epoch at a time: early stopping and the student of the best epoch.

A training shuffles its positions in each epoch and is scored on a validation set after it. It ends after `epochs`
epochs, or after `patience` epochs in a row that were no better than the best epoch, whose student is kept.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from odkd.common.metric_names import metric_name
from odkd.common.names import counted
from odkd.common.seeds import named_seed
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.tally import Tally
from odkd.training.batches import batches_of_kinds, batches_of_pass
from odkd.training.learn import Learner, Step
from odkd.training.loss_values import check_finite
from odkd.training.warmup import PerUpdate

ScheduleFactory = Callable[[torch.optim.Optimizer, int], LRScheduler]  # (optimizer, number of epochs) -> schedule
CHUNK = 64  # positions validated at once, so that memory does not grow with the validation set


@dataclass(frozen=True)
class EpochPlan:
    """Length of a training, its batches, and the choice of the best epoch.

    Args:
        epochs: largest number of epochs.
        batch_size: images per update.
        drop_last: leave out an epoch's last batch if it is smaller.
        patience: epochs in a row without a better score after which a training ends; None = never.
        best_by: score on the validation set, higher is better (`metric_names.SCORES`).
        best_against: reference of that score; None = the label source that the student learns from.
    """

    epochs: int
    batch_size: int
    drop_last: bool
    patience: int | None
    best_by: str
    best_against: str | None


@dataclass(frozen=True)
class Task:
    """The data of one training.

    Args:
        name: of the student, in metric names.
        positions: the training set.
        source: label source of the training set.
        soft_source: label source of the soft labels, if the loss needs them.
        validation: the validation set; may be empty.
        epochs: largest number of epochs; None = that of the plan.
        labelled: those of the training set whose labels may be learned from, as evenly spread over the batches of an
            epoch as the others; None = all. A training that has others says what they are for.
    """

    name: str
    positions: Sequence[int]
    source: str
    soft_source: str
    validation: Sequence[int]
    epochs: int | None = None
    labelled: Collection[int] | None = None


@dataclass
class Best:
    """The best epoch so far, with its score and its student's weights on the CPU."""

    epoch: int
    score: float
    student: dict[str, Tensor]


def seed_name(name: str) -> str:
    """Return the name that seeds a training's random choices: older versions named rounds "stages".

    >>> seed_name("round_1/student_0")
    'stage_1/student_0'
    """
    return name.replace("round_", "stage_")


class Training:
    """One training, run an epoch at a time. To resume it, load its state and that of the learner.

    Raises:
        ValueError: `drop_last` would leave out all batches.
    """

    def __init__(
        self,
        learner: Learner,
        evaluator: Evaluator,
        task: Task,
        plan: EpochPlan,
        *,
        seed: int,
        schedule: ScheduleFactory | None,
    ) -> None:
        self.task, self.plan, self.num_done = task, plan, 0
        self.best: Best | None = None
        self.learner, self._evaluator = learner, evaluator
        self._seed = named_seed(seed, "training", seed_name(task.name))
        self._scheduler = schedule(learner.optimizer, plan.epochs) if schedule else None
        if isinstance(self._scheduler, PerUpdate):
            learner.schedule, self._scheduler = self._scheduler, None
        if plan.drop_last and len(task.positions) < plan.batch_size:
            raise ValueError(
                f"{task.name} has {counted(len(task.positions), 'training image')} and "
                f"stage.batch_size={plan.batch_size}: "
                "all would be left out; lower it, or set stage.drop_last=false"
            )

    @property
    def is_finished(self) -> bool:
        """True if no epoch is left to run."""
        patience = self.plan.patience
        is_stale = patience is not None and self.best is not None and self.num_done - 1 - self.best.epoch >= patience
        return self.num_done >= self.plan.epochs or is_stale

    @property
    def num_updates(self) -> int:
        """The number of updates so far."""
        return self.num_done * self.updates_per_epoch

    @property
    def updates_per_epoch(self) -> int:
        """The number of batches in an epoch."""
        size, per_update = len(self.task.positions), self.plan.batch_size
        return size // per_update if self.plan.drop_last else -(-size // per_update)

    def learn(self, told: Callable[[int], object] = lambda _: None, step: Step | None = None) -> dict[str, float]:
        """Train one epoch; return the mean of each loss over its updates, and the learning rate.

        Args:
            told: called after each update with the number of its images.
            step: makes each update in place of the learner's own step.
        """
        torch.manual_seed(named_seed(self._seed, "epoch", self.num_done))  # for dropout; a resumed run draws the same
        bank, positions = self._evaluator.bank, frozenset(self.task.positions)
        return self.learned(self.learner.learn(bank, self._batches(), stream_positions=positions, told=told, step=step))

    def learned(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Note that an epoch was learned with these mean losses; return them by their names, and the learning rate."""
        check_finite(losses, f"epoch {self.num_done} of {self.task.name}")
        rate = float(self.learner.optimizer.param_groups[0]["lr"])
        if self._scheduler is not None:
            self._scheduler.step()
        return {f"loss_{name}": loss for name, loss in losses.items()} | {"learning_rate": rate}

    def _batches(self) -> list[list[int]]:
        """Return the batches of the epoch."""
        task, size = self.task, self.plan.batch_size
        named: Any = {"seed": self._seed, "iteration": 0, "epoch": self.num_done}
        if task.labelled is None:
            batches = batches_of_pass(task.positions, "shuffled", size, stream_positions=(), **named)
        else:
            kinds = [
                [p for p in task.positions if (p in task.labelled) is is_labelled] for is_labelled in (True, False)
            ]
            batches = batches_of_kinds(kinds, size, **named)
        if self.plan.drop_last and len(batches[-1]) < size:
            batches.pop()
        return batches

    def validate(self) -> dict[str, float]:
        """Score the student on the validation set, at its own size, against every label source; keep the best student.

        Raises:
            ValueError: the reference of the plan's score is no label source.
        """
        bank, student, validation = self._evaluator.bank, self.learner.evaluated, self.task.validation
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
        # Without a validation set every score is NaN, and the last epoch's student is kept.
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
