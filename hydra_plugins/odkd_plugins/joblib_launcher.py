"""Launcher for parallel jobs on one machine: each slot runs one process at a time, which keeps its imports and its GPU.

joblib's executor ends all its workers when one of them dies, so each slot has a separate executor: a killed job does
not end other jobs. (hydra-joblib-launcher has one executor for all jobs, and does not assign GPUs.)
"""

import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hydra.core.utils import JobReturn

from odkd.common.names import counted
from odkd.common.threads import usable_cores

from .jobs import ENDING_SECONDS, OdkdLauncher, Parcel, died

logger = logging.getLogger(__name__)
ORPHAN_SECONDS = 1.0  # interval between two checks that the launching process still exists


class JoblibLauncher(OdkdLauncher):
    """A launcher that runs jobs in slots; further jobs wait for a free slot."""

    def __init__(self, n_jobs: int | None, slots_per_gpu: int) -> None:
        from .slots import check_numbers

        check_numbers(n_jobs=n_jobs, slots_per_gpu=slots_per_gpu)
        self.n_jobs, self.slots_per_gpu = n_jobs, slots_per_gpu
        self.processes: list[Slot] = []
        self.is_kept = False

    def workers(self, num_jobs: int) -> "Slots":
        """Return one process for each slot."""
        environments = self.slots()
        logger.info("%s, %d at a time", counted(num_jobs, "job"), min(len(environments), num_jobs))
        self.processes += [Slot(environment) for environment in environments[len(self.processes) : num_jobs]]
        slots = Slots(self.processes[:num_jobs], is_kept=self.is_kept)
        if not self.is_kept:
            self.processes = []
        return slots

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the processes between launches inside this context: a search launches often, and imports take time."""
        self.is_kept = True
        try:
            yield
        finally:
            self.is_kept = False
            Slots(self.processes, is_kept=False).close()
            self.processes = []

    def slots(self) -> list[dict[str, str]]:
        """Return the environment variables of each slot."""
        from .slots import slots

        def num_gpus() -> int:
            import torch

            return torch.cuda.device_count()

        return slots(
            self.n_jobs,
            self.slots_per_gpu,
            str(self.config.device),
            num_gpus=num_gpus,
            num_cores=usable_cores()[0],
            environment=os.environ,
        )


class Slot:
    """A place for one process at a time, which is replaced if it dies."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.executor: Any = None
        self.future: Future[JobReturn] | None = None
        self.number = -1

    def start(self, parcel: Parcel) -> None:
        """Start a job; the slot must be free."""
        from joblib.externals.loky import ProcessPoolExecutor

        if self.executor is None:
            self.executor = ProcessPoolExecutor(
                max_workers=1, env=self.environment, initializer=begin_worker, initargs=(os.getpid(),)
            )
        self.number = parcel.number
        self.future = self.executor.submit(parcel)

    def take(self) -> tuple[int, JobReturn]:
        """Return number and result of the job that has ended, and free the slot."""
        assert self.future is not None
        future, self.future = self.future, None
        error = future.exception()
        if error is None:
            return self.number, future.result()
        if isinstance(error, BrokenProcessPool):
            logger.error("the process of job %d died", self.number)
            self.close()
            how = re.search(r"\{(.+)\}", str(error))  # joblib says: "exit codes of the workers are {SIGKILL(-9)}"
            short = RuntimeError(f"the job's process died{f' by {how[1]}' if how else ''}")
            short.__cause__ = error
            error = short
        return self.number, died(error)

    def close(self) -> None:
        """End the process."""
        if self.executor is not None:
            self.executor.shutdown(wait=True, kill_workers=True)
        self.executor = self.future = None


class Slots:
    """The `Workers` of this machine: its slots."""

    def __init__(self, slots: list[Slot], *, is_kept: bool) -> None:
        self.slots, self.is_kept = slots, is_kept

    def room(self) -> int:
        """Return the number of free slots."""
        return len(self.slots) - self.num_running()

    def num_running(self) -> int:
        """Return the number of occupied slots."""
        return len(self.futures())

    def futures(self) -> list[Future[JobReturn]]:
        """Return the futures of running jobs."""
        return [slot.future for slot in self.slots if slot.future is not None]

    def start(self, parcels: Sequence[Parcel]) -> None:
        """Start each job in a free slot."""
        free = [slot for slot in self.slots if slot.future is None]
        for slot, parcel in zip(free, parcels, strict=False):
            slot.start(parcel)

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """Return the results of the jobs that ended, by number; wait up to `seconds` for one."""
        wait(self.futures(), timeout=seconds, return_when=FIRST_COMPLETED)
        return dict(slot.take() for slot in self.slots if slot.future is not None and slot.future.done())

    def drop_waiting(self) -> None:
        """Do nothing: a job is started only when a slot is free."""

    def end(self, seconds: float) -> None:
        """Wait until running jobs have ended themselves."""
        wait(self.futures(), timeout=seconds)

    def close(self) -> None:
        """End the processes, unless another launch needs them."""
        for slot in () if self.is_kept else self.slots:
            slot.close()


def begin_worker(launcher_pid: int) -> None:
    """Prepare a new process: ignore Ctrl-C, which the launching process handles, and end when that process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with, args=(launcher_pid,), name="odkd-orphan", daemon=True).start()


def leave_with(launcher_pid: int) -> None:
    """Wait until the launching process is gone, then end the job as killed, and the process."""
    while os.getppid() == launcher_pid:
        time.sleep(ORPHAN_SECONDS)
    for _ in range(round(ENDING_SECONDS / ORPHAN_SECONDS)):
        os.kill(os.getpid(), signal.SIGTERM)  # the first one ends the job, a later one the process
        time.sleep(ORPHAN_SECONDS)
    os._exit(143)
