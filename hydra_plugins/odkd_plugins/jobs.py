"""What odkd's launchers share: a job as something to be sent to another process, and the loop that hands jobs out.

A launcher says who works (`Workers`: processes of this machine, a Slurm array, a Ray cluster); the loop is the same.
None of this imports torch: a worker's environment must be right before.
"""

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
ENDING_SECONDS = 60.0  # that running jobs have to save what they need when a sweep is ended; then they are killed
LOOK_SECONDS = 1.0  # between two looks at who has finished

# Where Hydra's own launcher plugins are installed too, it would take their settings for the schema of ours, which have
# the same names.
for _name in ("joblib", "submitit_local", "ray"):
    ConfigStore.instance().repo.get("hydra", {}).get("launcher", {}).pop(f"{_name}.yaml", None)


@dataclass(frozen=True)
class Parcel:
    """A job, packed for a process that may be on another machine; call it there.

    Args:
        number: of the job.
        contents: arguments of `run_one`, pickled; opened when environment and import path are right.
        environment: variables to set first, such as OMP_NUM_THREADS.
        folder: to work in; relative paths are relative to it.
        path: sys.path of the launching process: a user's own classes may lie there.
    """

    number: int
    contents: bytes
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))

    def __call__(self) -> JobReturn:
        """Run the job here."""
        import cloudpickle

        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.path += [entry for entry in self.path if entry not in sys.path]
        return run_one(*cloudpickle.loads(self.contents))


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


class Workers(Protocol):
    """Who runs the jobs of one launch."""

    def room(self) -> int:
        """How many jobs may be started now."""

    def num_running(self) -> int:
        """Jobs that were started and are not `done`; they may wait for a place of their own, as Slurm's do."""

    def start(self, parcels: Sequence[Parcel]) -> None:
        """Start jobs, no more than there is room for."""

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """By number, the jobs that ended since the last call; waits a while for one."""

    def drop_waiting(self) -> None:
        """Jobs that were started but still wait for a place are not to begin any more."""

    def end(self, seconds: float) -> None:
        """Jobs were told to end by the sweep's stop file; wait for that."""

    def close(self) -> None:
        """Leave no process behind."""


class OdkdLauncher(Launcher):
    """Hands jobs to workers until all are done; what becomes of them the jobs write down themselves, if they live."""

    config: DictConfig
    hydra_context: HydraContext
    task_function: "SweepJob"

    def setup(self, *, hydra_context: HydraContext, task_function: Any, config: DictConfig) -> None:
        """Called by Hydra; what is to be run is a job of one of our sweepers."""
        if not hasattr(task_function, "plan"):
            raise HydraException("this launcher needs hydra/sweeper=odkd (the default) or hydra/sweeper=optuna")
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function

    @abstractmethod
    def workers(self, num_jobs: int) -> Workers:
        """Who is to run so many jobs."""

    def environment(self) -> dict[str, str]:
        """Variables that each job is to have."""
        return {}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Returns what became of each job; one whose process died has failed."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = {number_of(words, number): words for number, words in enumerate(job_overrides, start=initial_job_idx)}
        waiting = [self.pack(number, words) for number, words in jobs.items()]
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
                    if returned.status == JobStatus.FAILED and not is_stopped:  # then waiting ones were taken back
                        error = returned._return_value  # the public one prints and raises it
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

    def pack(self, number: int, overrides: Sequence[str]) -> Parcel:
        """What a worker needs for a job."""
        import cloudpickle

        state = Singleton.get_state()
        contents = number, list(overrides), self.config, self.task_function, self.hydra_context, state
        return Parcel(number, cloudpickle.dumps(contents), self.environment())

    def end(self, workers: Workers) -> None:
        """Running jobs end themselves, as killed, and can be gone on with."""
        plan = self.task_function.plan
        if plan.stop_reason() is None:
            plan.stop("the sweep was ended")
        workers.drop_waiting()
        if number := workers.num_running():
            logger.info("ending %d running jobs", number)
            workers.end(ENDING_SECONDS)


def number_of(overrides: Sequence[str], otherwise: int) -> int:
    """The number that a job writes its notes under: a search names it, in a grid it is the place in the list."""
    named = [int(value) for key, value in map(split_override, overrides) if key == "sweep.job"]
    return named[-1] if named else otherwise


def not_run() -> JobReturn:
    """Of a job that never began."""
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = math.nan
    return returned


def died(error: BaseException) -> JobReturn:
    """Of a job whose process died, or that could not be run at all."""
    returned = JobReturn(status=JobStatus.FAILED)
    returned.return_value = error
    return returned
