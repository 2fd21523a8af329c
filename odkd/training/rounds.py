"""The rounds of multistage collaborative distillation: train students, relabel with them, score them, resume.

What is finished stays finished: a student that was trained and scored is not trained again after a kill.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from odkd.common.files import write_json
from odkd.common.metric_names import metric_name
from odkd.data.labels import LabelSource
from odkd.data.labels.store import Labelled
from odkd.data.labels.student_labels import MergedLabels, StudentLabels, StudentName
from odkd.data.split_plan import SplitPlan
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.split_scores import agreement, label_with, reference_miou, score_labels, score_student
from odkd.training.epochs import Task
from odkd.training.pairs import PREVIOUS, RECORD, FirstRounds, Shelf, use_previous
from odkd.training.side_by_side import SideBySide
from odkd.training.trainer import LearnEpoch
from odkd.training.trainings import Trainings


@dataclass
class SplitScores:
    """Scores students and labels against every reference, on the splits of a plan.

    Args:
        evaluator: predicts in the run's precision.
        references: label sources of the run, by name.
        plan: the splits.
        classes: names of the dataset's classes.
        reference_batch_size: batch size of the reference code's own metric; None = without it.
    """

    evaluator: Evaluator
    references: Mapping[str, LabelSource]
    plan: SplitPlan
    classes: Sequence[str]
    reference_batch_size: int | None

    def __post_init__(self) -> None:
        self.confusions: dict[str, Tensor] = {}  # of the student that was scored last, by reference

    def of_student(self, scope: str, student: nn.Module, previous: MergedLabels | None = None) -> dict[str, float]:
        """Return the scores of a student on the test split, by name."""
        test = self.plan.splits["test"]
        against = dict(self.references) | ({PREVIOUS: previous} if previous else {})
        found: dict[str, float] = {}
        for reference, tally in score_student(self.evaluator, student, test, against).items():
            found |= tally.scores(scope, reference) | tally.class_scores(self.classes, scope, reference)
            self.confusions[reference] = tally.total_KK
        if self.reference_batch_size is not None:
            found |= reference_miou(self.evaluator, student, test, against, scope, self.reference_batch_size)
        return found

    def of_labels(self, scope: str, labels: LabelSource, learned: Sequence[int]) -> dict[str, float]:
        """Return the label noise: scores of labels against ground truth, of the images that are learned from."""
        if "groundtruth" not in self.references:
            return {}
        truth = self.references["groundtruth"]
        tally, ignored = score_labels(labels, truth, learned, len(self.classes))
        scope = f"{scope}/labels"
        return tally.scores(scope, "groundtruth") | {metric_name(scope, "ignored_share", "groundtruth"): ignored}

    def of_teacher(self) -> dict[str, float]:
        """Return the scores of the teacher's labels on the test split; nothing without teacher or ground truth."""
        if not {"teacher", "groundtruth"} <= self.references.keys():
            return {}
        teacher, truth = self.references["teacher"], self.references["groundtruth"]
        tally, ignored = score_labels(teacher, truth, self.plan.splits["test"], len(self.classes))
        found = tally.scores("teacher", "groundtruth") | tally.class_scores(self.classes, "teacher", "groundtruth")
        return found | {metric_name("teacher", "ignored_share", "groundtruth"): ignored}


class Rounds:
    """Trains the students of all rounds and passes labels from each round to the next.

    Args:
        stream: the images.
        plan: their splits and parts.
        trainings: what is trained so far, and the trainer.
        scores: scores students and labels.
        shelf: where students' labels are kept.
        origin: label source of the first round.
        keeps_origin: later rounds learn from it too; the labels of the round before are then their soft labels alone.
    """

    def __init__(
        self,
        stream: Stream,
        plan: SplitPlan,
        trainings: Trainings,
        scores: SplitScores,
        shelf: Shelf,
        origin: str,
        *,
        keeps_origin: bool = False,
    ) -> None:
        self._stream, self._plan, self._trainings, self._scores = stream, plan, trainings, scores
        self._shelf, self._origin, self._keeps_origin = shelf, origin, keeps_origin
        self._previous: MergedLabels | None = None  # labels of the round before

    def train_one(
        self,
        name: str,
        *,
        epochs: int | None = None,
        labelled: Collection[int] | None = None,
        learn: LearnEpoch | None = None,
    ) -> None:
        """Train and score one student on the current labels of all training images, unless that is done.

        Args:
            epochs, labelled: as in `Task`.
            learn: as in `Trainings.train`.
        """
        trainings, scores = self._trainings, self._scores
        train, val = (self._plan.splits[split] for split in ("train", "val"))
        task = Task(name, train, *self._sources, val, epochs=epochs, labelled=labelled)
        if task.name in trainings.weights:
            return
        digest = trainings.train(task, learn)
        learned = train if labelled is None else sorted(labelled)
        found = scores.of_labels(name, self._labels, learned) | self._of_student(name)
        if name == "final":
            trainings.run.save_confusions(scores.confusions)
        trainings.finish(task, digest, found)

    def train_round(
        self, number: int, side_by_side: SideBySide | None = None, *, learned: Sequence[int] | None = None
    ) -> list[StudentName]:
        """Train one student per part on its current labels, let it relabel the next part, and return the students.

        Args:
            learned: what the only student of a round learns from; None = its part.
        """
        trainings, scores = self._trainings, self._scores
        tasks = [
            Task(f"round_{number}/student_{student}", part, *self._sources, self._plan.splits["val"])
            for student, part in enumerate(self._plan.parts["train"] if learned is None else [learned])
        ]
        if side_by_side is not None:
            side_by_side.train(trainings, tasks, self._previous)
        for student, task in enumerate(tasks):
            if task.name in trainings.weights:
                continue
            digest = trainings.train(task)
            self._stored(StudentName(self._shelf.run_key, number, student, digest)).fill(
                self._label, self._shelf.device
            )
            whole = self._plan.splits["train"] if learned is None else learned
            found = scores.of_labels(f"round_{number}", self._labels, whole) if student == 0 else {}
            found |= self._of_student(task.name)
            trainings.finish(task, digest, found)
        self._compare(number, [task.name for task in tasks])
        weights = trainings.weights
        return [StudentName(self._shelf.run_key, number, n, weights[task.name]) for n, task in enumerate(tasks)]

    def use_labels_of(self, students: Sequence[StudentName]) -> None:
        """Learn from the labels of these students next; compute labels again that were deleted in the meantime."""
        stored = [self._stored(student) for student in students]
        for student, labels in zip(students, stored, strict=True):
            if labels.missing():
                self._trainings.restore(f"round_{student.round}/student_{student.number}")
                labels.fill(self._label, self._shelf.device)
        self._learn_from(stored)

    def continue_from(self, first: FirstRounds) -> None:
        """Make the labels of another run's students the ones to learn from.

        Raises:
            ValueError: they are labels of other splits, or not all are stored.
        """
        stored = [self._stored(student) for student in first.students]
        first.check(self._plan.splits, stored)
        self._learn_from(stored)

    def record(self, students: Sequence[StudentName]) -> None:
        """Write down the students of the last round before the final one, for runs that continue from here."""
        stored = [self._stored(student) for student in students]
        record = FirstRounds(self._shelf.run_key, students, self._trainings.run.folder)
        write_json(self._trainings.run.folder / RECORD, record.describe(self._plan.splits, stored))

    def summary(self) -> dict[str, float]:
        """Return all final scores."""
        return self._trainings.counts() | self._scores.of_teacher() | self._trainings.summary

    @property
    def _sources(self) -> tuple[str, str]:
        """The sources of hard and of soft labels to learn from now."""
        if self._previous is None:
            return self._origin, "teacher"
        return (self._origin if self._keeps_origin else PREVIOUS), PREVIOUS

    @property
    def _labels(self) -> LabelSource:
        """The labels to learn from now."""
        return self._previous or self._scores.references[self._origin]

    def _of_student(self, name: str) -> dict[str, float]:
        """Return the scores of the learner's student."""
        return self._scores.of_student(name, self._trainings.trainer.learner.student, self._previous)

    def _stored(self, student: StudentName) -> StudentLabels:
        return self._shelf.labels(self._stream, self._plan.relabelled_by(student.number), student)

    def _label(self, positions: Sequence[int]) -> list[Labelled]:
        return label_with(self._scores.evaluator, self._trainings.trainer.learner.student, positions, self._shelf.soft)

    def _learn_from(self, stored: Sequence[StudentLabels]) -> None:
        self._previous = MergedLabels(stored)
        use_previous(self._scores.evaluator.bank, self._previous)

    def _compare(self, number: int, names: Sequence[str]) -> None:
        """Score how much the students of a round agree, unless that is done."""
        scope, trainings = f"round_{number}/agreement", self._trainings
        if len(names) < 2 or metric_name(scope, "miou") in trainings.summary:
            return
        students = []
        for name in names:
            trainings.restore(name)
            students.append(copy.deepcopy(trainings.trainer.learner.student))
        trainings.summary |= agreement(self._scores.evaluator, students, self._plan.splits["test"], scope)
