"""What both children of a session do first, and what they are given."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from omegaconf import DictConfig

from odkd.common.device import set_up
from odkd.common.errors import is_mistake
from odkd.data.labels import LabelSource
from odkd.data.video.frames import FrameReader
from odkd.data.video.stream import Stream
from odkd.data.window import Window
from odkd.evaluation.evaluate import Evaluator
from odkd.teachers import Teacher
from odkd.training.child import LogToParent, end_with_parent
from odkd.training.iteration import Passes
from odkd.training.learn import Learner
from odkd.training.live.buffers import BufferPlan
from odkd.training.live.slots import SlotPlan
from odkd.training.pace import Pace
from odkd.training.replay import Replay


class TeacherMaker(Protocol):
    """Builds a teacher (`config.parts_teacher.TeacherParts`)."""

    def live(self) -> tuple[Teacher, np.ndarray | None]: ...


class EvaluatorMaker(Protocol):
    """Builds what predicts (`config.parts_evaluation.EvaluationParts`)."""

    def evaluator_of(self, frames: FrameReader, references: Mapping[str, LabelSource]) -> Evaluator: ...


class Equipment(Protocol):
    """The parts of a run that a child builds for itself (`config.parts.Parts`)."""

    seed: int
    window: Window

    @property
    def stream(self) -> Stream: ...
    @property
    def groundtruth(self) -> LabelSource | None: ...
    @property
    def learner(self) -> Learner: ...
    @property
    def replay(self) -> Replay: ...
    @property
    def pace(self) -> Pace: ...
    @property
    def teacher_parts(self) -> TeacherMaker: ...
    @property
    def evaluation_parts(self) -> EvaluatorMaker: ...


@dataclass(frozen=True)
class Job:
    """The arguments of a child process.

    Args:
        equip: builds the parts of a run from `cfg`.
        cfg: the run's config with the device and threads of the child.
        passes: how the selected frames of a training are learned from.
        nice: by how much it yields to the answering process.
        slots, buffers: shared memory.
        folder: of the run.
        working_folder: of the process.
        sees_dataset: frames have a position in the dataset's stream.
    """

    equip: Callable[[DictConfig], Equipment]
    cfg: DictConfig
    passes: Passes
    nice: int
    slots: SlotPlan
    buffers: BufferPlan
    folder: Path
    working_folder: Path
    sees_dataset: bool


class Line:
    """A child's end of the pipe; any of its threads may send."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, *message: Any) -> None:
        """Send a message; nothing happens if the answering process is gone."""
        with self._lock, contextlib.suppress(OSError):
            self._pipe.send(message)

    def receive(self) -> tuple[Any, ...]:
        """Wait for a message and return it; ("stop",) if the answering process is gone."""
        try:
            message: tuple[Any, ...] = self._pipe.recv()
        except (EOFError, OSError):
            return ("stop",)
        return message


@contextlib.contextmanager
def begin(job: Job, pipe: Any) -> Iterator[Line]:
    """Set up a child process for what happens inside; tell the answering process of an error, and end."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    line = Line(pipe)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a whole group may be told to end; the answering process says when
    try:
        logging.basicConfig(
            handlers=[LogToParent(lambda _, content: line.send("log", *content))],
            format="%(message)s",
            level=logging.WARNING,
            force=True,
        )
        os.chdir(job.working_folder)
        with contextlib.suppress(OSError):
            os.nice(job.nice)
        cfg = job.cfg
        set_up(torch.device(cfg.device), threads=cfg.threads, deterministic=cfg.deterministic, precision=cfg.precision)
        yield line
    except Exception as error:
        is_plain = is_mistake(error) or isinstance(error, OSError)
        line.send("failed", error if is_plain else None, traceback.format_exc())
