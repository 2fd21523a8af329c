"""A child process that trains one student and reports to its parent through a pipe (`side_by_side.py`).

Messages are pairs of a kind and its content: "records" (of all epochs so far), "log", "failed" and "done".
"""

import contextlib
import logging
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import DictConfig

from odkd.common.device import set_up
from odkd.common.errors import is_mistake
from odkd.data.labels.student_labels import MergedLabels
from odkd.evaluation.evaluate import Evaluator
from odkd.training.epochs import EpochPlan, ScheduleFactory, Task
from odkd.training.learn import Learner
from odkd.training.pairs import use_previous
from odkd.training.trainer import Trainer


class Equipment(Protocol):
    """The parts of a run that a training needs (`config.parts.Parts`)."""

    seed: int

    @property
    def learner(self) -> Learner: ...
    @property
    def evaluator(self) -> Evaluator: ...
    @property
    def schedule(self) -> ScheduleFactory | None: ...


@dataclass(frozen=True)
class StudentJob:
    """The arguments of a child process.

    Args:
        equip: builds the parts of the training from `cfg`.
        cfg: the run's config with the device and threads of the child.
        previous: labels of the previous round's students, if there is one.
        folder: of the training.
        working_folder: of the process.
    """

    equip: Callable[[DictConfig], Equipment]
    cfg: DictConfig
    task: Task
    plan: EpochPlan
    previous: MergedLabels | None
    folder: Path
    working_folder: Path


def work(job: StudentJob, pipe: "Connection[Any, Any]") -> None:
    """Run a child process: train one student and send records, log lines and errors through the pipe."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    lock = threading.Lock()  # the bank's reading thread may log, too

    def send(kind: str, content: Any = None) -> None:
        with lock:
            pipe.send((kind, content))

    try:
        logging.basicConfig(handlers=[LogToParent(send)], format="%(message)s", level=logging.ERROR, force=True)
        os.chdir(job.working_folder)
        cfg = job.cfg
        set_up(torch.device(cfg.device), threads=cfg.threads, deterministic=cfg.deterministic, precision=cfg.precision)
        parts = job.equip(job.cfg)
        if job.previous is not None:
            use_previous(parts.evaluator.bank, job.previous)
        trainer = Trainer(
            parts.learner,
            parts.evaluator,
            job.plan,
            seed=parts.seed,
            schedule=parts.schedule,
            checkpoint_overhead=job.cfg.run.checkpoint_overhead,
        )
        logging.getLogger().setLevel(logging.INFO)  # not before: the parent has already logged the building of parts
        trainer.train(job.task, job.folder, lambda records: send("records", records))
        send("done")
    except Exception as error:
        is_plain = is_mistake(error) or isinstance(error, OSError)
        with contextlib.suppress(OSError):  # the parent has died
            send("failed", (error if is_plain else None, traceback.format_exc()))


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class LogToParent(logging.Handler):
    """Handler that sends log lines through the pipe."""

    def __init__(self, send: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send("log", (record.name, record.levelno, self.format(record)))
