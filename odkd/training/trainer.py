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


class Trainer:
    """Trains students one after the other with one learner, all from the same initial weights.

    Args:
        plan: settings of every training; a task may override `epochs`.
        seed: of the run.
        schedule: makes the learning rate schedule; None = constant learning rate.
        checkpoint_overhead: largest share of the time for writing checkpoints, see `Checkpoint`.
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
    ) -> None:
        self.learner, self.evaluator, self.plan = learner, evaluator, plan
        self._seed, self._schedule, self._overhead = seed, schedule, checkpoint_overhead
        self._initial = copy.deepcopy(learner.state_dict())

    def train(self, task: Task, folder: Path, report: Report) -> Training:
        """Train to the end, from the checkpoint if there is one; the learner then has the best epoch's student.

        Args:
            folder: of the training.
            report: called with the records of all epochs so far, after each checkpoint that makes them final.
        """
        learner = self.learner
        learner.restart(self._initial, source=task.source, soft_source=task.soft_source)
        begun_with = hashlib.sha256(weights_file(learner.student.state_dict())).hexdigest()
        plan = replace(self.plan, epochs=task.epochs or self.plan.epochs)
        training = Training(learner, self.evaluator, task, plan, seed=self._seed, schedule=self._schedule)
        checkpoint, records = Checkpoint(folder / "checkpoint.pt", overhead=self._overhead), list[EpochRecord]()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock", timeout=60):  # a child may outlive its killed parent for a moment
            if state := checkpoint.load():
                learner.load_state_dict(state["learner"])
                training.load_state_dict(state["training"])
                records = state["records"]
                report(records)
                if not training.is_finished:
                    logger.info("%s continues after %s", task.name, counted(training.num_done, "epoch"))
            size = len(task.positions)
            with Progress(
                task.name, "images", plan.epochs * size, done=training.num_done * size, seconds=60
            ) as progress:
                while not training.is_finished:
                    started = time.perf_counter()
                    losses = training.learn(progress.advance)
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
                        report(records)
                    self._log(training, metrics, evaluated - started, progress)
        assert training.best is not None
        learner.adopt(training.best.student)
        return training

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
