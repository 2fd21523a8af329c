"""Runs a training to completion: from the initial weights or a checkpoint, until a training is finished.

A training has its own folder, with a checkpoint that also holds the records of its epochs. So any process can continue
it, the run itself or a child (`side_by_side.py`).
"""

import copy
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors.torch import save
from torch import Tensor

from odkd.common.metric_names import REFERENCES, metric_name
from odkd.common.names import counted
from odkd.common.progress import Progress
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.lines import Record
from odkd.training.epochs import EpochPlan, ScheduleFactory, Task, Training, seed_name
from odkd.training.learn import Learner

logger = logging.getLogger(__name__)
EpochRecord = tuple[Record, Record]  # metrics and timing of an epoch, without its number in the run
Report = Callable[[Sequence[EpochRecord]], None]
LearnEpoch = Callable[[Sequence[Training], Callable[[int], object]], Sequence[dict[str, float]]]


class Trainer:
    """Trains students one after the other with one learner, all from the same initial weights.

    Args:
        plan: settings of every training; a task may override `epochs`.
        seed: of the run.
        schedule: makes the learning rate schedule; None = constant learning rate.
        checkpoint_overhead: largest share of the time for writing checkpoints, see `Checkpoint`.
        others: learners of students that are trained together with the first learner's.
    """

    def __init__(
        self,
        learner: Learner,
        evaluator: Evaluator,
        plan: EpochPlan,
        *,
        seed: int,
        schedule: ScheduleFactory | None,
        checkpoint_overhead: float,
        others: Sequence[Learner] = (),
    ) -> None:
        self.learner, self.evaluator, self.plan = learner, evaluator, plan
        self._seed, self._schedule, self._overhead = seed, schedule, checkpoint_overhead
        self._learners = [(one, copy.deepcopy(one.state_dict())) for one in (learner, *others)]

    def train(self, task: Task, folder: Path, report: Report, learn: LearnEpoch | None = None) -> Training:
        """Train to the end, from the checkpoint if there is one; the learner then has the best epoch's student.

        Args:
            folder: of the training.
            report: called with the records of all epochs so far, after each checkpoint that makes them final.
            learn: as for `train_together`.
        """
        return self.train_together([task], folder, report, learn or each_alone)[0]

    def train_together(self, tasks: Sequence[Task], folder: Path, report: Report, learn: LearnEpoch) -> list[Training]:
        """Train a student for each task, all in the same epochs; each learner then has its best epoch's student.

        Args:
            tasks: of the learner and, in this order, the others.
            folder, report: as for `train`.
            learn: makes one epoch of all trainings and returns what each `Training.learn` would.
        """
        trainings, begun_with = self._begin(tasks)
        checkpoint, records = Checkpoint(folder / "checkpoint.pt", overhead=self._overhead), list[EpochRecord]()
        folder.mkdir(parents=True, exist_ok=True)
        first, num_epochs = trainings[0], trainings[0].plan.epochs
        size = sum(len(task.positions) for task in tasks)
        with FileLock(folder / "lock", timeout=60):  # a child may outlive its killed parent for a moment
            if state := checkpoint.load():
                for training, one in zip(trainings, [state, *state.get("others", [])], strict=True):
                    training.learner.load_state_dict(one["learner"])
                    training.load_state_dict(one["training"])
                records = state["records"]
                report(records)
                if not all(training.is_finished for training in trainings):
                    logger.info("%s continues after %s", tasks[0].name, counted(first.num_done, "epoch"))
            with Progress(
                tasks[0].name, "images", num_epochs * size, done=first.num_done * size, seconds=60
            ) as progress:
                while not all(training.is_finished for training in trainings):
                    started = time.perf_counter()
                    losses = learn(trainings, progress.advance)
                    learned = time.perf_counter()
                    metrics = [one | training.validate() for one, training in zip(losses, trainings, strict=True)]
                    evaluated = time.perf_counter()
                    seconds = [
                        (later - before) / len(tasks) for before, later in ((started, learned), (learned, evaluated))
                    ]
                    for training, found, digest in zip(trainings, metrics, begun_with, strict=True):
                        records.append((_record(training, found, digest), _measure(training.task, *seconds)))
                        self._log(training, found, sum(seconds), progress)
                    is_finished = all(training.is_finished for training in trainings)
                    if checkpoint.is_due() or is_finished:
                        state, *others = map(_state, trainings)
                        checkpoint.save({**state, **({"others": others} if others else {}), "records": records})
                        report(records)
        for training in trainings:
            assert training.best is not None
            training.learner.adopt(training.best.student)
        return trainings

    def _begin(self, tasks: Sequence[Task]) -> tuple[list[Training], list[str]]:
        """Return new trainings from the initial weights, and the digests of these."""
        trainings, digests = [], []
        for task, (learner, initial) in zip(tasks, self._learners, strict=False):
            learner.restart(initial, source=task.source, soft_source=task.soft_source)
            digests.append(hashlib.sha256(weights_file(learner.student.state_dict())).hexdigest())
            plan = replace(self.plan, epochs=task.epochs or self.plan.epochs)
            trainings.append(Training(learner, self.evaluator, task, plan, seed=self._seed, schedule=self._schedule))
        return trainings, digests

    def _log(self, training: Training, metrics: Mapping[str, float], seconds: float, progress: Progress) -> None:
        found = {name: metrics.get(metric_name("val", "miou", name)) for name in REFERENCES}
        mious = [f"{miou:.3f} {name}" for name, miou in found.items() if miou is not None]
        validation = f"validation mIoU {', '.join(mious)}" if training.task.validation else "no validation images"
        score = next((f", mIoU {miou:.3f}" for miou in found.values() if miou is not None), "")
        name, done, epochs = training.task.name, training.num_done, training.plan.epochs
        logger.info(
            "%s  epoch %d/%d  loss %.3f  %s  %.1f s%s",
            *(name, done, epochs, metrics["loss_total"], validation, seconds),
            "  stops early: no better epoch since" if training.is_finished and done < epochs else "",
        )
        progress(done * len(training.task.positions), shown=lambda: f"epoch {done}/{epochs}{score}")


def each_alone(trainings: Sequence[Training], told: Callable[[int], object]) -> list[dict[str, float]]:
    """Make one epoch of each training on its own."""
    return [training.learn(told) for training in trainings]


def _record(training: Training, metrics: Mapping[str, float], begun_with: str) -> Record:
    name = training.task.name
    return {
        "training": name,
        "epoch": training.num_done - 1,
        "begun_with": begun_with,
        "metrics": {f"{name}/{metric}": value for metric, value in metrics.items()},
    }


def _state(training: Training) -> dict[str, Any]:
    return {"learner": training.learner.state_dict(), "training": training.state_dict()}


def _measure(task: Task, learn_seconds: float, evaluate_seconds: float) -> dict[str, Any]:
    metrics = {
        "time/learn_seconds": learn_seconds,
        "time/evaluate_seconds": evaluate_seconds,
        "time/learn_frames_per_second": len(task.positions) / learn_seconds,
        "time/evaluate_frames_per_second": len(task.validation) / evaluate_seconds,
    }
    return {"time": time.time(), "metrics": metrics}


def weights_file(state: Mapping[str, Tensor]) -> bytes:
    """Return a student's weights as the content of a safetensors file; equal weights give equal bytes."""
    return save({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()})


def student_file(run_folder: Path, name: str) -> Path:
    """Return the file of a finished student, named as in the metrics: round_1/student_0, ..., final.

    A run of an earlier version has it under the name of that time.
    """
    now, before = (
        run_folder / "students" / f"{word.replace('/', '-')}.safetensors" for word in (name, seed_name(name))
    )
    return before if before.is_file() and not now.is_file() else now
