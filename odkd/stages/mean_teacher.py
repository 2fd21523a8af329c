"""Mean teacher: a student answers as the moving average of its own weights does (Tarvainen & Valpola, NeurIPS 2017).

    loss(teacher's labels, first part) + w(t) * mean over pixels and classes of (softmax(student) - softmax(average))^2

The second mean is over all images. Its weight rises as w(t) = consistency * exp(-5 (1 - t / T)^2) in T updates
(sec. 3). The average (`training/average.py`, eq. 3 of the paper) follows after each update; it is validated and kept.

Deviation: both see the same augmented images, because the answers are compared pixel by pixel. The student has noise
and dropout, the average, in evaluation mode, has none; in the paper both have.
"""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt, Lt
from torch import Tensor, nn

from odkd.common.settings import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from odkd.data.labels import LabelSource
from odkd.data.labels.soft import SoftLabels
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.average import Average
from odkd.training.epochs import ScheduleFactory, Training
from odkd.training.learn import Given, Learner
from odkd.training.losses.weights import at_least_float32
from odkd.training.over_epochs import OverEpochs
from odkd.training.pairs import Shelf
from odkd.training.partly import check_partly, only_labelled
from odkd.training.regularizers import Update
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.rounds import Rounds


class Consistency(NoRegularizer):
    """The squared distance of the student's probabilities from the average's, as a penalty.

    Args:
        average: network that is followed.
        weight: largest one.
        ramp_up: share of the updates in which it rises.
    """

    def __init__(self, average: nn.Module, *, weight: float, ramp_up: float) -> None:
        self._average, self._weight, self._ramp_up = average, weight, ramp_up
        self.share = 0.0  # of all updates that are made, set before each update

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        with torch.no_grad():
            followed_BKHW = update.forward(self._average, update.images_BCHW)
        one_BKHW, other_BKHW = (F.softmax(at_least_float32(logits), 1) for logits in (logits_BKHW, followed_BKHW))
        return self.weight * (one_BKHW - other_BKHW).square().mean()

    @property
    def weight(self) -> float:
        """The weight of the current update."""
        rest = 0.0 if self.share >= self._ramp_up else 1 - self.share / self._ramp_up
        return self._weight * math.exp(-5 * rest**2)


def learn_consistently(
    trainings: Sequence[Training], told: Callable[[int], object], consistency: Consistency
) -> list[dict[str, float]]:
    """Make one epoch of the only training; return its losses."""
    (training,) = trainings
    labelled, learner, num_done = training.task.labelled or (), training.learner, training.num_updates
    num_all = training.plan.epochs * training.updates_per_epoch

    def step(update: Update, soft: SoftLabels | None, _given: Given) -> dict[str, Tensor]:
        nonlocal num_done
        consistency.share = num_done / num_all
        num_done += 1
        return learner.step(*only_labelled(update, soft, labelled))

    return [training.learn(told, step)]


def add_noise(student: nn.Module, images: tuple[Any, ...], deviation: float) -> tuple[Any, ...] | None:
    """Return the images of a student that learns with Gaussian noise; None = unchanged."""
    return (images[0] + deviation * torch.randn_like(images[0]), *images[1:]) if student.training else None


@dataclass(frozen=True, kw_only=True)
class MeanTeacher(OverEpochs):
    """Trains one student on the labels of a part of the images and on its own average on all of them."""

    num_rounds: PositiveInt
    num_parts: PositiveInt
    ema: Annotated[float, Gt(0), Lt(1)]
    consistency: PositiveFloat
    ramp_up: Fraction
    noise: NonNegativeFloat
    traits: ClassVar[Traits] = Traits(has_epochs=True, compared="final/val_best")

    def check(self, *, stream: Stream, official_splits: Sequence[str] | None, seed: int, learner: Learner) -> None:
        """Check that there are images for every part, that labels can be hidden, and that there is one average."""
        self.splits(stream, official_splits, seed, num_parts=self.num_parts)
        check_partly(self.name, learner)
        if learner.average is not None:
            raise ValueError(f"student.ema: stage={self.name} has its own average, stage.ema; leave student.ema out")

    def run(
        self,
        *,
        stream: Stream,
        learner: Learner,
        evaluator: Evaluator,
        references: Mapping[str, LabelSource],
        schedule: ScheduleFactory | None,
        official_splits: Sequence[str] | None,
        shelf: Shelf,
        run: OpenRun,
        seed: int,
    ) -> dict[str, float]:
        """Train the student, from where an earlier process stopped, and return the summary."""
        splits = self.splits(stream, official_splits, seed, num_parts=self.num_parts)
        splits.write(run.folder / "splits", stream)
        learner.average = Average(learner.student, self.ema)
        consistency = Consistency(learner.average.network, weight=self.consistency, ramp_up=self.ramp_up)
        learner.regularizer = consistency
        if self.noise:
            learner.student.register_forward_pre_hook(partial(add_noise, deviation=self.noise))
        trainings = self.trainings(learner, evaluator, run, seed=seed, schedule=schedule)
        scores = self.scores(evaluator, references, splits, shelf.classes)
        rounds = Rounds(stream, splits, trainings, scores, shelf, "teacher")
        labelled = frozenset(splits.parts["train"][0])
        learn = partial(learn_consistently, consistency=consistency)
        rounds.train_one("final", epochs=self.num_rounds * self.epochs, labelled=labelled, learn=learn)
        trainings.restore("final")
        return rounds.summary()
