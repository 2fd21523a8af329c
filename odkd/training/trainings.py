"""The trainings of a run, in order: their students, their published epochs, and the state to resume from."""

import contextlib
import hashlib
import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from safetensors.torch import load

from odkd.common.files import write_atomic
from odkd.common.names import counted
from odkd.runs.run import OpenRun
from odkd.training.epochs import Task, Training
from odkd.training.trainer import EpochRecord, LearnEpoch, Trainer, student_file, weights_file

logger = logging.getLogger(__name__)


class Trainings:
    """The trainings of a run, in order. Their epochs are numbered consecutively and published.

    The run's folder has finished students in students/NAME.safetensors and the current training in trainings/NAME.
    `weights` has the sha256 of each finished student, `summary` its entries of the run's summary.
    """

    def __init__(self, run: OpenRun, trainer: Trainer) -> None:
        self.trainer = trainer
        self.weights: dict[str, str] = {}
        self.summary: dict[str, float] = {}
        self.run = run
        if state := run.resume():
            self.weights, self.summary = state["weights"], state["summary"]
        self._num_published = Counter(str(record["training"]) for record in run.records())
        if self._num_published:
            logger.info(
                "resumed after %s, %s finished",
                counted(self._num_published.total(), "epoch"),
                counted(len(self.weights), "student"),
            )
        for name in self.weights:
            self.clear(name)

    def folder(self, name: str) -> Path:
        """Return the folder of an unfinished training."""
        return self.run.folder / "trainings" / name.replace("/", "-")

    def train(self, task: Task, learn: LearnEpoch | None = None) -> str:
        """Train to the end, from the checkpoint if there is one; the learner then has the best epoch's student.

        Return the sha256 of its weights. The training is finished only after `finish`.

        Args:
            learn: makes one epoch; None = each update is the learner's own step.
        """
        return self.keep(self.trainer.train(task, self.folder(task.name), partial(self.publish, task.name), learn))

    def keep(self, training: Training, name: str | None = None) -> str:
        """Write the best epoch's student of a training to its file, and its counts to the summary.

        Return the sha256 of its weights.

        Args:
            name: of the student; None = that of the training.
        """
        best, name = training.best, name or training.task.name
        assert best is not None
        content = weights_file(best.student)
        write_atomic(student_file(self.run.folder, name), content)
        found: dict[str, float] = {
            "best_epoch": best.epoch,
            "num_epochs": training.num_done,
            "num_updates": training.num_updates,
            "val_best": best.score,
        }
        self.summary |= {f"{name}/{key}": value for key, value in found.items()}
        return _digest(content)

    def publish(self, name: str, records: Sequence[EpochRecord]) -> None:
        """Publish the epochs of a training that are not published yet.

        Args:
            name: of the training, or of several that share their epochs, which are named NAME/...; all earlier
                trainings are published.
            records: all its epochs so far, from the first on.
        """
        earlier = itertools.takewhile(
            lambda item: item[0] != name and not item[0].startswith(f"{name}/"), self._num_published.items()
        )
        first = sum(num_epochs for _, num_epochs in earlier)  # of a pair, the second one may be published in part
        numbers = [{"iteration": first + index} for index in range(len(records))]
        self.run.publish([(n | record, n | timing) for n, (record, timing) in zip(numbers, records, strict=True)])
        self._num_published |= Counter(str(record["training"]) for record, _ in records)  # the larger counts

    def finish(self, task: Task, digest: str, summary: Mapping[str, float]) -> None:
        """Mark a training as finished, once everything that depends on its student is stored."""
        self.weights[task.name] = digest
        self.summary |= summary
        self.run.commit({"weights": self.weights, "summary": self.summary})
        self.clear(task.name)

    def counts(self, *, copies: Collection[str] = ()) -> dict[str, float]:
        """Return how many trainings, epochs and updates there were; updates unless an earlier version made some.

        Args:
            copies: students that count under another name.
        """
        names = [name for name in self.weights if name not in copies]
        found = {"num_trainings": float(len(names)), "num_epochs": float(len(self.run.records()))}
        updates = [self.summary.get(f"{name}/num_updates") for name in names]
        known = [number for number in updates if number is not None]
        return found | ({"num_updates": float(sum(known))} if len(known) == len(updates) else {})

    def restore(self, name: str) -> None:
        """Load the weights of a finished student into the learner.

        Raises:
            ValueError: the file is missing or was changed.
        """
        path = student_file(self.run.folder, name)
        content = path.read_bytes() if path.is_file() else b""
        if _digest(content) != self.weights[name]:
            raise ValueError(f"{path} is missing or was changed since the training; start again with run.restart=true")
        self.trainer.learner.adopt(load(content))

    def clear(self, name: str) -> None:
        """Remove the folder of a training whose student is stored."""
        shutil.rmtree(self.folder(name), ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder(name).parent.rmdir()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
