"""The two children of a session, with the device, the threads and the shared memory of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from odkd.common.device import DEFAULT_THREADS
from odkd.common.names import counted
from odkd.common.references import config_of
from odkd.training.iteration import Passes
from odkd.training.live.buffers import BufferPlan
from odkd.training.live.child import Job
from odkd.training.live.devices import NICE, assigned, threads_of
from odkd.training.live.plan import LivePlan
from odkd.training.live.slots import SlotPlan
from odkd.training.live.teacher_process import label
from odkd.training.live.trainer_process import train
from odkd.training.live.worker import Message, Worker

logger = logging.getLogger(__name__)
START_SECONDS = 60.0  # for which the stream waits for teacher and trainer at most
LOOK_SECONDS = 0.05

Heard = Callable[[Message], None]
Died = Callable[[], None]


class Crew:
    """Teacher and trainer.

    Args:
        wanted: part -> device, or auto.
        sees_dataset: frames are those of the dataset's stream.
    """

    def __init__(
        self,
        plan: LivePlan,
        wanted: Mapping[str, str],
        *,
        passes: Passes,
        slots: SlotPlan,
        buffers: BufferPlan,
        folder: Path,
        sees_dataset: bool,
        heard: Mapping[str, Heard],
        died: Mapping[str, Died],
    ) -> None:
        devices = assigned(wanted, plan.device, torch.cuda.device_count())
        shares = threads_of(devices, DEFAULT_THREADS)
        threads = {part: plan.threads or share for part, share in shares.items()}
        self.threads = threads["student"]
        for part, device in devices.items():
            logger.info("%s on %s, %s", part, device, counted(threads[part], "CPU thread"))

        def worker(name: str, target: Callable[[Job, object], None]) -> Worker:
            whole: Any = OmegaConf.to_container(plan.cfg, resolve=True)
            cfg = config_of(whole)
            cfg.device, cfg.threads = devices[name], threads[name]
            places = (slots, buffers, folder.absolute(), Path.cwd())
            job = Job(plan.equip, cfg, passes, NICE, *places, sees_dataset)
            return Worker(name, target, job, heard=heard[name], died=died[name])

        self.teacher, self.trainer = worker("teacher", label), worker("trainer", train)

    @property
    def workers(self) -> tuple[Worker, Worker]:
        """Both."""
        return self.teacher, self.trainer

    def start(self) -> None:
        """Start both, and wait until they are ready; not for long, because a stream does not wait.

        Raises:
            ValueError: a mistake in their settings.
        """
        for worker in self.workers:
            worker.start()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and not all(worker.is_ready for worker in self.workers):
            self.check()
            time.sleep(LOOK_SECONDS)

    def check(self) -> None:
        """Check that no child has found a mistake of the user.

        Raises:
            ValueError, OSError: as raised in the child.
        """
        for worker in self.workers:
            if worker.mistake is not None:
                raise worker.mistake

    @property
    def state(self) -> dict[str, str]:
        """What each part does, by name."""
        return {"student": "running", **{worker.name: worker.state for worker in self.workers}}

    def stop(self) -> None:
        """End both; the trainer saves what it has learned first."""
        self.teacher.stop(gently=False)
        self.trainer.stop(gently=True)

    @property
    def num_restarts(self) -> int:
        """How often a child was started again."""
        return sum(worker.num_restarts for worker in self.workers)
