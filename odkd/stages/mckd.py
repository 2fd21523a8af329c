"""Multistage collaborative distillation: pairs of students relabel each other's half (arXiv 2311.08640, sec. 3).

The training positions are split once, at random, into disjoint parts. In each stage but the last, student p, new,
learns from the current labels of part p and then relabels part p + 1 (the last one: part 0), which it has not learned
from; the last stage's one student learns from the merged latest labels of all parts. One stage alone is plain
distillation, or, on true labels, supervised learning.

Deviation: validation and test positions are split and relabelled in the same way, so that there are labels of the
previous stage to validate with and to score against; nothing is ever learned from them.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from odkd.common.files import write_json
from odkd.common.metric_names import metric_name
from odkd.data.labels import LabelSource
from odkd.data.labels.store import Labelled
from odkd.data.labels.student_labels import MergedLabels, StudentLabels, StudentName
from odkd.data.splits import labelled_and_rest, parts_of, split_positions, write_lists
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.split_scores import agreement, label_with, reference_miou, score_labels, score_student
from odkd.runs.run import OpenRun
from odkd.training.epochs import EpochPlan, ScheduleFactory, Task
from odkd.training.learn import Learner
from odkd.training.pairs import PREVIOUS, RECORD, FirstRounds, Shelf, use_previous
from odkd.training.side_by_side import SideBySide
from odkd.training.trainer import Trainer
from odkd.training.trainings import Trainings

logger = logging.getLogger(__name__)


def mckd(
    *,
    stream: Stream,
    learner: Learner,
    evaluator: Evaluator,
    references: Mapping[str, LabelSource],
    classes: Sequence[str],
    schedule: ScheduleFactory | None,
    official_splits: Sequence[str] | None,
    shelf: Shelf,
    first_rounds: FirstRounds | None,
    side_by_side: SideBySide | None,
    run: OpenRun,
    seed: int,
    run_rounds: Literal["all", "first", "final"],
    num_rounds: int,
    num_parts: int,
    shares: Sequence[float],
    labelled_share: float | None,
    epochs: int,
    plain_epochs: int | None,
    batch_size: int,
    drop_last: bool,
    patience: int | None,
    best_by: str,
    best_against: str | None,
    reference_metric: bool,
) -> dict[str, float]:
    """Run the stages from where an earlier process left them. Returns the summary."""
    if evaluator.predictor != "student":
        raise ValueError("evaluation.predictor=teacher is for stage=online; here the teacher is always scored too")
    origin = learner.source
    splits = split_positions(len(stream), shares=shares, seed=seed, official=official_splits)
    lists: dict[str, list[int]] = {}
    if labelled_share is not None:
        lists["train_labelled"], rest = labelled_and_rest(splits["train"], share=labelled_share, seed=seed)
        splits["train"] = lists["train_labelled"] if origin == "groundtruth" else rest
    parts = {name: _parts(positions, num_parts, seed) for name, positions in splits.items()}
    if min(map(len, parts["train"])) == 0:
        raise ValueError(
            f"{len(splits['train'])} training pictures{'' if labelled_share is None else ' without a label'} cannot be "
            f"split into stage.num_parts={num_parts}; lower it, or dataset.stride, or give stage.shares more to train"
            f"{'' if labelled_share is None else f', or lower stage.labelled_share={labelled_share}'}"
        )
    lists |= {f"train_part_{p}": part for p, part in enumerate(parts["train"])} if num_parts > 1 else {}
    write_lists(
        run.folder / "splits", {name: [stream.name_of(p) for p in found] for name, found in (splits | lists).items()}
    )
    relabelled = [[p for name in splits for p in parts[name][(n + 1) % num_parts]] for n in range(num_parts)]

    plan = EpochPlan(epochs, batch_size, drop_last, patience, best_by, best_against)
    overhead = run.checkpoint_overhead
    trainer = Trainer(learner, evaluator, plan, seed=seed, schedule=schedule, checkpoint_overhead=overhead)
    trainings = Trainings(run, trainer)

    def label(positions: Sequence[int]) -> list[Labelled]:
        return label_with(evaluator, learner.student, positions, shelf.soft)

    def hand_on(stored: Sequence[StudentLabels]) -> MergedLabels:
        """Labels to learn from next."""
        merged = MergedLabels(stored)
        use_previous(evaluator.bank, merged)
        return merged

    def sources() -> tuple[str, str]:
        """Of hard and of soft labels to learn from now."""
        return (PREVIOUS, PREVIOUS) if merged else (origin, "teacher")

    def labels_of(students: Sequence[StudentName]) -> list[StudentLabels]:
        return [shelf.labels(stream, relabelled[student.number], student) for student in students]

    def refill(students: Sequence[StudentName]) -> list[StudentLabels]:
        """Their labels; what was deleted or repaired away meanwhile is made again."""
        stored = labels_of(students)
        for student, labels in zip(students, stored, strict=True):
            if labels.missing():
                trainings.restore(f"round_{student.round}/student_{student.number}")
                labels.fill(label, shelf.device)
        return stored

    def score(name: str) -> dict[str, float]:
        """Of the learner's student, on the test split."""
        against = dict(references) | ({PREVIOUS: merged} if merged else {})
        found: dict[str, float] = {}
        for reference, tally in score_student(evaluator, learner.student, splits["test"], against).items():
            found |= tally.scores(name, reference) | tally.class_scores(classes, name, reference)
            confusions[reference] = tally.total_KK
        if reference_metric:
            found |= reference_miou(evaluator, learner.student, splits["test"], against, name, batch_size)
        return found

    def noise(scope: str, source: LabelSource) -> dict[str, float]:
        """How wrong the labels are that a stage learns from: their scores against true ones, on the training split."""
        if "groundtruth" not in references:
            return {}
        tally, ignored = score_labels(source, references["groundtruth"], splits["train"], len(classes))
        scope = f"{scope}/labels"
        return tally.scores(scope, "groundtruth") | {metric_name(scope, "ignored_share", "groundtruth"): ignored}

    confusions: dict[str, Tensor] = {}
    merged: MergedLabels | None = None
    if plain_epochs is not None and run_rounds != "first":  # before the bank's soft labels are a student's
        task = Task("plain", splits["train"], *sources(), splits["val"], epochs=plain_epochs)
        if task.name not in trainings.weights:
            digest = trainings.train(task)
            trainings.finish(task, digest, noise("plain", references[origin]) | score("plain"))

    if first_rounds is not None:
        stored = labels_of(first_rounds.students)
        first_rounds.check(splits, stored)
        merged = hand_on(stored)

    finished: list[StudentName] = []  # of the newest stage
    for stage in range(1, num_rounds) if run_rounds != "final" else ():
        finished = []
        tasks = [
            Task(f"round_{stage}/student_{number}", parts["train"][number], *sources(), splits["val"])
            for number in range(num_parts)
        ]
        if side_by_side is not None:
            side_by_side.train(trainings, tasks, merged)
        for number, task in enumerate(tasks):
            if task.name not in trainings.weights:
                digest = trainings.train(task)
                student = StudentName(shelf.run_key, stage, number, digest)
                labels_of([student])[0].fill(label, shelf.device)
                found = noise(f"round_{stage}", merged or references[origin]) if number == 0 else {}
                trainings.finish(task, digest, found | score(task.name))
            finished.append(StudentName(shelf.run_key, stage, number, trainings.weights[task.name]))
        if num_parts > 1 and f"round_{stage}/agreement/miou" not in trainings.summary:
            students = []
            for number in range(num_parts):
                trainings.restore(f"round_{stage}/student_{number}")
                students.append(copy.deepcopy(learner.student))
            trainings.summary |= agreement(evaluator, students, splits["test"], f"round_{stage}/agreement")
        stored = refill(finished)
        merged = hand_on(stored)
    if finished:
        record = FirstRounds(shelf.run_key, finished, run.folder)
        write_json(run.folder / RECORD, record.describe(splits, stored))

    if run_rounds != "first":
        task = Task("final", splits["train"], *sources(), splits["val"])
        if task.name not in trainings.weights:
            digest = trainings.train(task)
            found = noise("final", merged or references[origin]) | score("final")
            run.save_confusions(confusions)
            trainings.finish(task, digest, found)
        trainings.restore("final")
    summary = {"num_trainings": float(len(trainings.weights)), "num_epochs": float(len(run.records()))}
    if "teacher" in references and "groundtruth" in references:
        tally, ignored = score_labels(references["teacher"], references["groundtruth"], splits["test"], len(classes))
        summary |= tally.scores("teacher", "groundtruth") | tally.class_scores(classes, "teacher", "groundtruth")
        summary[metric_name("teacher", "ignored_share", "groundtruth")] = ignored
    return summary | trainings.summary


def _parts(positions: Sequence[int], num_parts: int, seed: int) -> list[list[int]]:
    """`parts_of`; of fewer positions than parts, the first ones have one and the others none."""
    if len(positions) < num_parts:
        return [list(positions[number : number + 1]) for number in range(num_parts)]
    return parts_of(positions, num_parts=num_parts, seed=seed)
