"""Jobs side by side on one machine: a slot is one process at a time, which keeps its imports and its GPU.

joblib's executor ends all its workers when one of them dies, so each slot has an executor of its own: a job that
is killed takes no other with it. (hydra-joblib-launcher has one for all, and knows of no GPUs.)
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

logger = logging.getLogger(__name__)
ENDING_SECONDS = 60.0  # that running jobs have to save what they need when a sweep is ended; then they are killed
ORPHAN_SECONDS = 1.0  # between two looks whether the launching process is still there

# Where hydra-joblib-launcher is installed too, Hydra would take its settings for the schema of ours, of the same name.
ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop("joblib.yaml", None)


class JoblibLauncher(Launcher):
    """Runs jobs in `slots`; jobs that no slot is free for wait."""

    def __init__(self, n_jobs: int | None, slots_per_gpu: int) -> None:
        from odkd.slots import check_numbers

        check_numbers(n_jobs, slots_per_gpu)
        self.n_jobs, self.slots_per_gpu = n_jobs, slots_per_gpu
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.processes: list[Slot] = []
        self.is_kept = False

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Returns what became of each job; one whose process died has failed."""
        assert self.config is not None
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        environments = self.slots()
        logger.info("%d jobs, %d at a time", len(job_overrides), min(len(environments), len(job_overrides)))
        waiting = list(reversed(list(enumerate(job_overrides, start=initial_job_idx))))
        self.processes += [Slot(environment) for environment in environments[len(self.processes) : len(job_overrides)]]
        slots = self.processes
        returns: dict[int, JobReturn] = {}
        try:
            while waiting or any(slot.future for slot in slots):
                for slot in slots:
                    if slot.future is None and waiting:
                        number, overrides = waiting.pop()
                        slot.start(number, self.arguments(number, overrides))
                wait([slot.future for slot in slots if slot.future], timeout=1.0, return_when=FIRST_COMPLETED)
                for slot in slots:
                    if slot.future is not None and slot.future.done():
                        number, returned = slot.take()
                        returns[number] = returned
        except BaseException:
            self.end(slots)
            raise
        finally:
            if not self.is_kept:
                self.close()
        return [returns[number] for number in sorted(returns)]

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """In it, processes outlive a launch: a search launches many times, and imports are paid for once."""
        self.is_kept = True
        try:
            yield
        finally:
            self.is_kept = False
            self.close()

    def close(self) -> None:
        """End the processes."""
        for slot in self.processes:
            slot.close()
        self.processes = []

    def slots(self) -> list[dict[str, str]]:
        """Environment of each slot."""
        from odkd.slots import num_cores, slots

        def num_gpus() -> int:
            import torch

            return torch.cuda.device_count()

        assert self.config is not None
        return slots(
            self.n_jobs,
            self.slots_per_gpu,
            str(self.config.device),
            num_gpus=num_gpus,
            num_cores=num_cores(),
            environment=os.environ,
        )

    def arguments(self, number: int, overrides: Sequence[str]) -> tuple[Any, ...]:
        """What a worker needs for a job."""
        return number, list(overrides), self.config, self.task_function, self.hydra_context, Singleton.get_state()

    def end(self, slots: "list[Slot]") -> None:
        """Running jobs end themselves, as killed, and can be gone on with."""
        from odkd.sweeps import STOP_FILE

        assert self.config is not None
        stop_file = Path(self.config.hydra.sweep.dir) / STOP_FILE
        if stop_file.parent.is_dir() and not stop_file.exists():
            stop_file.write_text("the sweep was ended")
        running = [slot.future for slot in slots if slot.future is not None]
        if running:
            logger.info("ending %d running jobs", len(running))
            wait(running, timeout=ENDING_SECONDS)


class Slot:
    """One process at a time; another one if it dies."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.executor: Any = None
        self.future: Future[JobReturn] | None = None
        self.number = -1

    def start(self, number: int, arguments: tuple[Any, ...]) -> None:
        """Run a job here; the slot must be free."""
        from joblib.externals.loky import ProcessPoolExecutor

        if self.executor is None:
            self.executor = ProcessPoolExecutor(
                max_workers=1, env=self.environment, initializer=begin_worker, initargs=(os.getpid(),)
            )
        self.number = number
        self.future = self.executor.submit(run_one, *arguments)

    def take(self) -> tuple[int, JobReturn]:
        """Number and result of the job that is done."""
        assert self.future is not None
        future, self.future = self.future, None
        error = future.exception()
        if error is None:
            return self.number, future.result()
        if isinstance(error, BrokenProcessPool):
            logger.error("the process of job %d died", self.number)
            self.close()
        failed = JobReturn(status=JobStatus.FAILED)
        failed.return_value = error
        return self.number, failed

    def close(self) -> None:
        """End the process."""
        if self.executor is not None:
            self.executor.shutdown(wait=True, kill_workers=True)
        self.executor = self.future = None


def begin_worker(launcher_pid: int) -> None:
    """Of a new process: Ctrl-C is the launching process's, and without that one there is nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with, args=(launcher_pid,), name="odkd-orphan", daemon=True).start()


def leave_with(launcher_pid: int) -> None:
    """When the launching process is gone, end the job as killed, or at least the process."""
    while os.getppid() == launcher_pid:
        time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING_SECONDS)
    os._exit(143)


def run_one(
    number: int,
    overrides: list[str],
    config: DictConfig,
    task_function: TaskFunction,
    hydra_context: HydraContext,
    state: Any,
) -> JobReturn:
    """In the worker: compose the job's config and run it."""
    setup_globals()
    Singleton.set_state(state)
    sweep_config = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(sweep_config):
        sweep_config.hydra.job.id = f"{sweep_config.hydra.job.name}_{number}"
        sweep_config.hydra.job.num = number
    HydraConfig.instance().set_config(sweep_config)
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=sweep_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
