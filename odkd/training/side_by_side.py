"""Training of a pair's students at the same time, each in a separate process and on its own device.

A child process calls `Trainer.train`, as the run itself does for one student after the other, with the same folder.
So the run then finds these trainings finished; after a kill, the next run continues from their checkpoints, with or
without child processes. A child sends its records and log lines through a pipe. It exits when its parent has died; the
parent ends its children whenever it leaves `SideBySide.train`.
"""

import logging
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from odkd.common.device import DEFAULT_THREADS, choose_device
from odkd.common.isolation import deaf_to_interrupts
from odkd.common.names import counted
from odkd.common.progress import Progress
from odkd.common.references import config_of
from odkd.data.labels.student_labels import MergedLabels
from odkd.training.child import Equipment, StudentJob, work
from odkd.training.epochs import Task
from odkd.training.trainer import EpochRecord
from odkd.training.trainings import Trainings

logger = logging.getLogger(__name__)


class SideBySide:
    """Trains the students of a pair at the same time.

    Args:
        equip: builds a child's student, bank and other parts from its config.
        cfg: of the run; its stage.devices are assigned to the students in turn.
        device: of the run.

    Raises:
        ValueError: a device does not exist, does not support the precision, or is of another type than `device`.
    """

    def __init__(self, equip: Callable[[DictConfig], Equipment], cfg: DictConfig, device: torch.device) -> None:
        self._equip = equip
        self._cfg: Any = OmegaConf.to_container(cfg, resolve=True)
        self._devices = [
            choose_device(name, precision=cfg.precision, setting="stage.devices") for name in cfg.stage.devices
        ]
        self._threads = cfg.threads or max(1, DEFAULT_THREADS // cfg.stage.num_parts)
        for chosen in self._devices:
            if chosen.type != device.type:  # results depend on the type, and the run's key has only that of `device`
                raise ValueError(
                    f"stage.devices has {chosen}, and the rest of the run is on device={device}; "
                    "expected devices of one kind: change one of them"
                )

    def train(self, trainings: Trainings, tasks: Sequence[Task], previous: MergedLabels | None) -> None:
        """Train all unfinished `tasks` of a pair; `trainings.train` then finds each of them trained.

        Args:
            previous: labels of the previous round's students, if there is one.

        Raises:
            ValueError, OSError: as raised in a child.
            RuntimeError: another error in a child, or its death; the checkpoints remain.
        """
        children: list[_Child] = []
        records: dict[str, Sequence[EpochRecord]] = {}
        num_epochs = sum(task.epochs or trainings.trainer.plan.epochs for task in tasks)
        try:
            for number, task in enumerate(tasks):
                if task.name not in trainings.weights:
                    children.append(_Child(self._job(trainings, task, number, previous)))
            with Progress("side by side", "epochs", num_epochs, seconds=None) as progress:
                while running := {child.pipe: child for child in children if not child.is_done}:
                    for pipe in wait(list(running)):
                        child = running[pipe]  # type: ignore[index]
                        records |= {child.name: news} if (news := child.listen()) is not None else {}
                    progress(sum(map(len, records.values())))
                    for child in children:  # epochs are published in the order of the students
                        trainings.publish(child.name, records.get(child.name, ()))
                        if not child.is_done:
                            break
        finally:
            for child in children:
                child.end()

    def _job(self, trainings: Trainings, task: Task, number: int, previous: MergedLabels | None) -> StudentJob:
        device = self._devices[number % len(self._devices)]
        cfg = config_of(self._cfg)
        cfg.device, cfg.threads, cfg.stage.devices = str(device), self._threads, None
        logger.info("%s on %s, %s", task.name, device, counted(self._threads, "CPU thread"))
        plan, folder = trainings.trainer.plan, trainings.folder(task.name).absolute()
        return StudentJob(self._equip, cfg, task, plan, previous, folder, Path.cwd())


class _Child:
    """The parent's side of a child process."""

    def __init__(self, job: StudentJob) -> None:
        self.name, self.is_done = job.task.name, False
        self._where = f"{self.name} on {job.cfg.device}"
        self.pipe, sender = multiprocessing.Pipe(duplex=False)
        self._process: SpawnProcess = multiprocessing.get_context("spawn").Process(target=work, args=(job, sender))
        with deaf_to_interrupts():
            self._process.start()
        sender.close()  # only the child has it open then, so that its death ends the pipe

    def listen(self) -> Sequence[EpochRecord] | None:
        """Receive one message; return the records of all epochs so far if it holds them.

        Raises:
            RuntimeError: the child has died, or failed with an unexpected error.
            ValueError, OSError: as raised in the child.
        """
        try:
            kind, content = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = (
                f"was killed by {signal.Signals(-code).name} (no memory left?)"
                if code < 0
                else f"ended with code {code}"
            )
            raise RuntimeError(f"{self._where}: its process {how}; the same command goes on from here") from None
        if kind == "failed":
            error, text = content
            raise error or RuntimeError(f"{self._where} failed; see the error above") from _ChildError(text)
        if kind == "log":
            name, level, text = content
            logging.getLogger(name).log(level, "%s", text)
        self.is_done = kind == "done"
        records: Sequence[EpochRecord] | None = content if kind == "records" else None
        return records

    def end(self) -> None:
        """End the process; an unfinished training continues from its checkpoint in a later run."""
        if self.is_done:
            self._process.join(timeout=10)
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()


class _ChildError(Exception):
    """The traceback of a child; the cause of the error that its parent raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
