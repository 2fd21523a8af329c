"""The common part of odkd's launchers: a job as a parcel for another process, and the loop that starts jobs.

A launcher provides the `Workers`: processes of this machine, a Slurm array, a Ray cluster. The loop is the same for
all. Nothing here imports torch, because a worker's environment variables must be set before that import.
"""

import functools
import logging
import math
import os
import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from odkd.common.dotted import split_override

if TYPE_CHECKING:
    from odkd.runs.sweeps.job import SweepJob

logger = logging.getLogger(__name__)
ENDING_SECONDS = 60.0  # time for running jobs to save their state when a sweep is ended; then they are killed
LOOK_SECONDS = 1.0  # the longest wait for an ended job before the loop goes on

# If Hydra's own launcher plugins are installed too, Hydra would use their settings of the same names as the schema of
# odkd's.
for _name in ("joblib", "submitit_local", "ray"):
    ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop(f"{_name}.yaml", None)


@dataclass(frozen=True)
class Parcel:
    """A job packed for another process, perhaps on another machine, which runs it by calling the parcel.

    Args:
        number: number of the job.
        overrides: of the job.
        contents: pickled, what `run_one` needs besides; unpickled after environment and import path are set. It is the
            same for all jobs of a launch: a process that runs several unpickles it, and reads the config files, once.
        environment: variables to set first, such as OMP_NUM_THREADS.
        folder: working folder, to which relative paths refer.
        path: sys.path of the launching process, where user-defined classes may be.
    """

    number: int
    overrides: list[str]
    contents: bytes
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))

    def __call__(self) -> JobReturn:
        """Run the job in this process."""
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.path += [entry for entry in self.path if entry not in sys.path]
        returned = run_one(self.number, self.overrides, *unpacked(self.contents))
        returned.cfg = returned.hydra_cfg = None  # nobody reads them, and a sweep keeps what its jobs return
        return returned


@functools.lru_cache(maxsize=1)
def unpacked(contents: bytes) -> tuple[Any, ...]:
    """Return the contents of a parcel."""
    import cloudpickle

    found: tuple[Any, ...] = cloudpickle.loads(contents)
    return found


def run_one(
    number: int,
    overrides: list[str],
    config: DictConfig,
    task_function: TaskFunction,
    hydra_context: HydraContext,
    state: Any,
) -> JobReturn:
    """Compose the job's config and run it, in the worker process."""
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


class Workers(Protocol):
    """The workers that run the jobs of one launch."""

    def room(self) -> int:
        """Return how many jobs may be started now."""

    def num_running(self) -> int:
        """Return the number of jobs that were started and are not `done`; they may still wait in a queue (Slurm)."""

    def start(self, parcels: Sequence[Parcel]) -> None:
        """Start jobs, at most as many as `room` returns."""

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """Return the jobs that ended since the last call, by number; wait up to `seconds` for one."""

    def drop_waiting(self) -> None:
        """Cancel the jobs that were started but still wait in a queue."""

    def end(self, seconds: float) -> None:
        """Wait up to `seconds` for running jobs to end, as the sweep's stop file asks them to."""

    def close(self) -> None:
        """End all processes."""


class OdkdLauncher(Launcher):
    """A launcher that starts jobs until all have ended; the jobs note their own outcome, unless their process dies."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: "SweepJob"

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: DictConfig) -> None:
        """Take what Hydra passes to a launcher; the task function must come from a sweeper of odkd."""
        if not hasattr(task_function, "plan"):
            raise HydraException("this launcher needs hydra/sweeper=odkd (the default) or hydra/sweeper=optuna")
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function

    @abstractmethod
    def workers(self, num_jobs: int) -> Workers:
        """Return workers for `num_jobs` jobs."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables that each job gets."""
        return {}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, and return the result of each; a job whose process died has failed."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = {number_of(words, number): words for number, words in enumerate(job_overrides, start=initial_job_idx)}
        contents, environment = self.packed(), self.environment()
        waiting = [Parcel(number, list(words), contents, environment) for number, words in jobs.items()]
        returns = {number: not_run() for number in jobs}
        workers, is_stopped = self.workers(len(waiting)), False
        try:
            while waiting or workers.num_running():
                room = workers.room()
                if waiting and room:
                    workers.start(waiting[:room])
                    del waiting[:room]
                ended = workers.done(LOOK_SECONDS)
                returns |= ended
                for number, returned in ended.items():
                    if returned.status == JobStatus.FAILED and not is_stopped:  # else it may be a cancelled job
                        error = returned._return_value  # the public property prints and raises it
                        self.task_function.lost(self.config, number, jobs[number], error)
                if not is_stopped and self.task_function.plan.stop_reason() is not None:  # sweep.fail_fast
                    is_stopped = True
                    waiting.clear()
                    workers.drop_waiting()
        except BaseException:
            self.end(workers)
            raise
        finally:
            workers.close()
        return list(returns.values())

    def packed(self) -> bytes:
        """Return the contents of all parcels."""
        import cloudpickle

        return bytes(cloudpickle.dumps((self.config, self.task_function, self.hydra_context, Singleton.get_state())))

    def end(self, workers: Workers) -> None:
        """Ask running jobs to end as killed, so that they can be resumed, and wait for them."""
        plan = self.task_function.plan
        if plan.stop_reason() is None:
            plan.stop("the sweep was ended")
        workers.drop_waiting()
        if number := workers.num_running():
            logger.info("ending %d running jobs", number)
            workers.end(ENDING_SECONDS)


def number_of(overrides: Sequence[str], otherwise: int) -> int:
    """Return the number of a job: given as sweep.job in a search, else `otherwise`, the job's position in the list."""
    named = [int(value) for key, value in map(split_override, overrides) if key == "sweep.job"]
    return named[-1] if named else otherwise


def not_run() -> JobReturn:
    """Return the result of a job that never began."""
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = math.nan
    return returned


def died(error: BaseException) -> JobReturn:
    """Return the result of a job whose process died, or that could not be started."""
    returned = JobReturn(status=JobStatus.FAILED)
    returned.return_value = error
    return returned
