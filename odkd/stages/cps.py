"""Cross pseudo supervision: two students teach each other where only the other one has labels (Chen et al. CVPR 2021).

The training images are divided into the halves of stage=mckd. In each update, both students answer a batch with images
of both halves; then each minimises

    loss(teacher's labels, own half) + lambda * cross-entropy(classes that the other has answered, other half)

as in eq. 3 to 5: answers that are learned from pass no gradient, and both are of before the update. The final student
is the one with the better validation score.

Deviation: in the paper both students have the same labelled images, and answers on these are learned from, too. Here a
student never sees the labels of the other half, as in the pair rounds of MCKD.
"""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.argmax import largest_class
from odkd.common.settings import NonNegativeFloat, PositiveInt
from odkd.data.labels import LabelSource
from odkd.data.labels.soft import SoftLabels
from odkd.data.split_plan import SplitPlan
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.split_scores import agreement
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.epochs import ScheduleFactory, Task, Training
from odkd.training.learn import Given, Learner
from odkd.training.loss_values import mean_losses
from odkd.training.losses import CrossEntropy
from odkd.training.over_epochs import OverEpochs
from odkd.training.partly import check_partly, only_labelled
from odkd.training.regularizers import Update
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.rounds import SplitScores
from odkd.training.trainings import Trainings

ROUND = "round_1"


class Crossing(NoRegularizer):
    """The cross-entropy on what the other student answers, as a penalty of one student.

    Args:
        weight: lambda.
    """

    def __init__(self, weight: float) -> None:
        self._weight, self._loss = weight, CrossEntropy()
        self.answered_BHW: Tensor | None = None  # int64 classes for the current update, 255 in images of the own half

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        assert self.answered_BHW is not None
        loss: Tensor = self._loss(logits_BKHW, self.answered_BHW)
        return self._weight * loss

    def after_update(self, student: nn.Module, update: Update) -> None:
        self.answered_BHW = None


def learn_across(
    pair: Sequence[Training], told: Callable[[int], object], crossings: Sequence[Crossing]
) -> list[dict[str, float]]:
    """Make one epoch of both trainings, batch by batch; return the losses of each."""
    learners, seconds = [training.learner for training in pair], list[dict[str, Tensor]]()
    halves = [training.task.labelled or () for training in pair]

    def step(update: Update, soft: SoftLabels | None, _given: Given) -> dict[str, Tensor]:
        """Make an update of both students from what both answered before it; return the losses of the first."""
        answers = [one.forward(one.student, update.images_BCHW) for one in learners]
        classes = [replace(update, labels_BHW=largest_class(logits_BKHW).long()) for logits_BKHW in answers]
        losses = []
        for number, (one, half) in enumerate(zip(learners, halves, strict=True)):
            crossings[number].answered_BHW = only_labelled(classes[1 - number], None, halves[1 - number])[0].labels_BHW
            own, own_soft = only_labelled(update, soft, half)
            losses.append(one.step(replace(own, forward=partial(_answered, answers[number])), own_soft))
        seconds.append(losses[1])
        return losses[0]

    learners[1].student.train()
    first = pair[0].learn(lambda size: told(2 * size), step)
    return [first, pair[1].learned(mean_losses(seconds))]


def _answered(logits_BKHW: Tensor, _network: nn.Module, _images_BCHW: Tensor) -> Tensor:
    return logits_BKHW


class Together(nn.Module):
    """The mean of students' probabilities, in place of logits."""

    def __init__(self, students: Sequence[nn.Module]) -> None:
        super().__init__()
        self._students = nn.ModuleList(students)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return probabilities [B, K, H, W]."""
        return torch.stack([F.softmax(student(images_BCHW).float(), 1) for student in self._students]).mean(0)


class MakesLearners(Protocol):
    """Makes students of the run's settings, and what trains them."""

    def learner(self, name: str) -> Learner:
        """Return a learner whose student has the initial weights of a name."""


@dataclass(frozen=True, kw_only=True)
class Cps(OverEpochs):
    """Trains two students at the same time, each on its half's labels and on the other's answers."""

    num_rounds: PositiveInt
    cross_weight: NonNegativeFloat
    common_scores: bool
    traits: ClassVar[Traits] = Traits(has_epochs=True, compared="final/val_best")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_rounds * self.epochs % 2:
            raise ValueError(
                f"stage.num_rounds={self.num_rounds} x stage.epochs={self.epochs} passes over the images cannot be "
                "divided among two students; make one of them even"
            )

    def check(self, *, stream: Stream, official_splits: Sequence[str] | None, seed: int, learner: Learner) -> None:
        """Check that there are images for both halves, and that all labels can be kept from the other student."""
        self.splits(stream, official_splits, seed, num_parts=2)
        check_partly(self.name, learner)

    def run(
        self,
        *,
        stream: Stream,
        learner: Learner,
        student_parts: MakesLearners,
        evaluator: Evaluator,
        references: Mapping[str, LabelSource],
        schedule: ScheduleFactory | None,
        official_splits: Sequence[str] | None,
        classes: Sequence[str],
        run: OpenRun,
        seed: int,
    ) -> dict[str, float]:
        """Train both students, from where an earlier process stopped, and return the summary."""
        splits = self.splits(stream, official_splits, seed, num_parts=2)
        splits.write(run.folder / "splits", stream)
        pair = [learner, student_parts.learner("rival")]
        crossings = [Crossing(self.cross_weight) for _ in pair]
        for one, crossing in zip(pair, crossings, strict=True):
            one.regularizer = crossing
        trainings = self.trainings(learner, evaluator, run, seed=seed, schedule=schedule, others=pair[1:])
        scores = self.scores(evaluator, references, splits, classes)
        if "final" not in trainings.weights:
            self._train(pair, crossings, trainings, scores, splits)
        trainings.clear(ROUND)
        trainings.restore("final")
        return trainings.counts(copies=["final"]) | scores.of_teacher() | trainings.summary

    def _train(
        self,
        pair: Sequence[Learner],
        crossings: Sequence[Crossing],
        trainings: Trainings,
        scores: SplitScores,
        splits: SplitPlan,
    ) -> None:
        """Train both students together, score each, and keep the better one as the final student."""
        train, val, test = (splits.splits[name] for name in ("train", "val", "test"))
        epochs = self.num_rounds * self.epochs // 2
        tasks = [
            Task(f"{ROUND}/student_{n}", train, "teacher", "teacher", val, epochs=epochs, labelled=frozenset(half))
            for n, half in enumerate(splits.parts["train"])
        ]
        folder, publish = trainings.folder(ROUND), partial(trainings.publish, ROUND)
        learn = partial(learn_across, crossings=crossings)
        both = trainings.trainer.train_together(tasks, folder, publish, learn)
        students = [one.student for one in pair]
        for training, student in zip(both, students, strict=True):
            name, is_first = training.task.name, training is both[0]
            found = scores.of_labels(ROUND, scores.references["teacher"], train) if is_first else {}
            trainings.finish(training.task, trainings.keep(training), found | scores.of_student(name, student))
        better = better_of(*both)
        found = agreement(scores.evaluator, students, test, f"{ROUND}/agreement")
        if self.common_scores:
            found |= scores.of_student("together", Together(students))
        found |= scores.of_student("final", students[both.index(better)])
        trainings.run.save_confusions(scores.confusions)
        trainings.finish(replace(better.task, name="final"), trainings.keep(better, "final"), found)


def better_of(one: Training, other: Training) -> Training:
    """Return the training with the better validation score; the first one if they are equal or unknown."""
    first, second = (training.best.score if training.best else math.nan for training in (one, other))
    return other if second > first or (math.isnan(first) and not math.isnan(second)) else one
