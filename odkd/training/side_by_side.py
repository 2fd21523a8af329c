"""The students of a pair side by side: each trains in a process, and on a device, of its own.

A child does what the run itself would do in turn (`Trainer.train`), in the same folder. So afterwards the run finds
these trainings done, and whoever is killed on the way, the next run goes on from there, in turn or side by side.
Through a pipe a child tells what it has done and logs. It ends when its parent is gone; the parent ends its children
when it leaves, however it leaves.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import DictConfig, OmegaConf

from odkd.common.device import DEFAULT_THREADS, choose_device, set_up
from odkd.common.errors import is_mistake
from odkd.common.isolation import deaf_to_interrupts
from odkd.data.labels.student_labels import MergedLabels
from odkd.evaluation.evaluate import Evaluator
from odkd.training.epochs import EpochPlan, EpochRecord, ScheduleFactory, Task, Trainer
from odkd.training.learn import Learner
from odkd.training.pairs import use_previous
from odkd.training.trainings import Trainings

logger = logging.getLogger(__name__)


class Equipment(Protocol):
    """What a training needs; `build.Parts` has it."""

    seed: int

    @property
    def learner(self) -> Learner: ...
    @property
    def evaluator(self) -> Evaluator: ...
    @property
    def schedule(self) -> ScheduleFactory | None: ...


@dataclass(frozen=True)
class StudentJob:
    """What a child is handed. `cfg` is the run's config with the child's device and threads."""

    equip: Callable[[DictConfig], Equipment]
    cfg: DictConfig
    task: Task
    plan: EpochPlan
    previous: MergedLabels | None
    folder: Path  # of the training
    working_folder: Path


class SideBySide:
    """Trains the students of a pair at the same time.

    Args:
        equip: makes a child's student, bank and so on from its config.
        cfg: of the run; its stage.devices are taken in turn by the students.
        device: of the run.

    Raises:
        ValueError: a device that is not there, cannot do the precision, or is of another kind than `device`.
    """

    def __init__(self, equip: Callable[[DictConfig], Equipment], cfg: DictConfig, device: torch.device) -> None:
        self._equip = equip
        self._cfg: Any = OmegaConf.to_container(cfg, resolve=True)
        self._devices = [
            choose_device(name, precision=cfg.precision, setting="stage.devices") for name in cfg.stage.devices
        ]
        self._threads = cfg.threads or max(1, DEFAULT_THREADS // cfg.stage.num_parts)
        for chosen in self._devices:
            if chosen.type != device.type:  # results depend on the kind, and the run's key knows that of `device` alone
                raise ValueError(
                    f"stage.devices has {chosen}, and the rest of the run is on device={device}; "
                    "expected devices of one kind: change one of them"
                )

    def train(self, trainings: Trainings, tasks: Sequence[Task], previous: MergedLabels | None) -> None:
        """Train what is not finished yet of `tasks`, all of a pair; `trainings.train` then finds each of them done.

        Raises:
            ValueError, OSError: as they were raised in a child.
            RuntimeError: another error in a child, or its end; no more is lost than by a kill.
        """
        children: list[_Child] = []
        records: dict[str, Sequence[EpochRecord]] = {}
        try:
            for number, task in enumerate(tasks):
                if task.name not in trainings.weights:
                    children.append(_Child(self._job(trainings, task, number, previous)))
            while running := {child.pipe: child for child in children if not child.is_done}:
                for pipe in wait(list(running)):
                    child = running[pipe]  # type: ignore[index]
                    records |= {child.name: news} if (news := child.listen()) is not None else {}
                for child in children:  # the epochs of a student are published after those of the ones before
                    trainings.publish(child.name, records.get(child.name, ()))
                    if not child.is_done:
                        break
        finally:
            for child in children:
                child.end()

    def _job(self, trainings: Trainings, task: Task, number: int, previous: MergedLabels | None) -> StudentJob:
        device = self._devices[number % len(self._devices)]
        cfg = OmegaConf.create(self._cfg)
        cfg.device, cfg.threads, cfg.stage.devices = str(device), self._threads, None
        logger.info("%s on %s, %d CPU threads", task.name, device, self._threads)
        plan, folder = trainings.trainer.plan, trainings.folder(task.name).absolute()
        return StudentJob(self._equip, cfg, task, plan, previous, folder, Path.cwd())


class _Child:
    """A process that does a job, as its parent sees it."""

    def __init__(self, job: StudentJob) -> None:
        self.name, self.is_done = job.task.name, False
        self._where = f"{self.name} on {job.cfg.device}"
        self.pipe, told = multiprocessing.Pipe(duplex=False)
        self._process: SpawnProcess = multiprocessing.get_context("spawn").Process(target=_work, args=(job, told))
        with deaf_to_interrupts():
            self._process.start()
        told.close()  # it is the child's alone: so its death ends the pipe

    def listen(self) -> Sequence[EpochRecord] | None:
        """Hear one message: the records of all epochs so far, if that is what it is."""
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
        """Nothing of it is left afterwards; what it has not finished goes on from its checkpoint another time."""
        if self.is_done:
            self._process.join(timeout=10)
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()


class _ChildError(Exception):
    """The traceback of a child, as the cause of what its parent raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


# --- in the child


def _work(job: StudentJob, pipe: "Connection[Any, Any]") -> None:
    """A child's life."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lock = threading.Lock()  # a reading thread may log

    def tell(kind: str, content: Any = None) -> None:
        with lock:
            pipe.send((kind, content))

    try:
        logging.basicConfig(handlers=[_LogToParent(tell)], format="%(message)s", level=logging.ERROR, force=True)
        os.chdir(job.working_folder)
        device = torch.device(job.cfg.device)
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(device)  # pinned memory belongs to the current one
        set_up(device, threads=job.cfg.threads, deterministic=job.cfg.deterministic)
        parts = job.equip(job.cfg)
        if job.previous is not None:
            use_previous(parts.evaluator.bank, job.previous)
        overhead = job.cfg.run.checkpoint_overhead
        trainer = Trainer(
            parts.learner, parts.evaluator, job.plan,
            seed=parts.seed, schedule=parts.schedule, checkpoint_overhead=overhead,
        )  # fmt: skip
        logging.getLogger().setLevel(logging.INFO)  # what is to be told while parts are made, the parent has told
        trainer.train(job.task, job.folder, lambda records: tell("records", records))
        tell("done")
    except Exception as error:
        is_plain = is_mistake(error) or isinstance(error, OSError)
        with contextlib.suppress(OSError):  # the parent is gone
            tell("failed", (error if is_plain else None, traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _LogToParent(logging.Handler):
    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell("log", (record.name, record.levelno, self.format(record)))
