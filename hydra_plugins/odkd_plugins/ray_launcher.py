"""Jobs on Ray: of a cluster, or of this machine for as long as the sweep takes.

hydra-ray-launcher 1.2.2 wants cloudpickle 2 and brings boto3 and Ray's dashboard; it waits for all results and raises
the first error. Here a job is a task that is never retried: what becomes of it is in the sweep's folder.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException

from .jobs import OdkdLauncher, Parcel, died

logger = logging.getLogger(__name__)
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # tell nobody
    "RAY_DEDUP_LOGS": "0",  # lines of jobs that look alike are not alike
}


class RayLauncher(OdkdLauncher):
    """Submits all jobs to Ray, which starts them as there is room.

    Args:
        address: of a cluster; None for RAY_ADDRESS, else this machine.
        num_cpus: cores of this machine, where Ray is started on it; None for all.
        cpus_per_job: cores, and threads, of a job.
        gpus_per_job: GPUs, or share of one, of a job; None for 1 where there are any.
        resources: other needs of a job.
    """

    def __init__(
        self,
        address: str | None,
        num_cpus: int | None,
        cpus_per_job: int,
        gpus_per_job: float | None,
        resources: dict[str, float],
    ) -> None:
        from .slots import check_numbers

        check_numbers(cpus_per_job=cpus_per_job, **({} if num_cpus is None else {"num_cpus": num_cpus}))
        if num_cpus is not None and cpus_per_job > num_cpus:
            raise HydraException(
                f"hydra.launcher.cpus_per_job={cpus_per_job} exceeds num_cpus={num_cpus}; no job would ever start"
            )
        if importlib.util.find_spec("ray") is None:
            raise HydraException("hydra/launcher=ray needs Ray; pip install 'odkd[ray]'")
        self.address, self.num_cpus, self.cpus_per_job = address, num_cpus, cpus_per_job
        self.gpus_per_job, self.resources = gpus_per_job, dict(resources)

    def environment(self) -> dict[str, str]:
        """As many threads as cores; a job that is to have no GPU sees none."""
        from .slots import thread_settings

        blind = {"CUDA_VISIBLE_DEVICES": ""} if self.gpus_per_job == 0 else {}
        return thread_settings(self.cpus_per_job, os.environ) | blind

    def workers(self, num_jobs: int) -> "Tasks":
        """Tasks of Ray, which is started, or connected with, now."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        if not ray.is_initialized():
            ray.init(address=self.address, num_cpus=self.num_cpus, include_dashboard=False, configure_logging=False)
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = self.gpus_per_job
        if gpus is None:
            gpus = 1.0 if has.get("GPU", 0) >= 1 and str(self.config.device) != "cpu" else 0.0
        needs: dict[str, Any] = {"num_cpus": self.cpus_per_job, "num_gpus": gpus, "resources": self.resources}
        logger.info("%d jobs; Ray has %g cores and %g GPUs", num_jobs, has.get("CPU", 0), has.get("GPU", 0))
        return Tasks(needs, Path(self.config.hydra.sweep.dir))


class Tasks:
    """`Workers` that are Ray's."""

    def __init__(self, needs: dict[str, Any], sweep: Path) -> None:
        import ray

        # A retry would be a second attempt that nobody has asked for; the same command is one.
        self.remote = ray.remote(run_parcel).options(max_retries=0, **needs)
        self.sweep = sweep
        self.refs: dict[Any, int] = {}  # of jobs that wait or run -> number

    def room(self) -> int:
        """Jobs wait in Ray."""
        return sys.maxsize

    def num_running(self) -> int:
        """Waiting ones, too."""
        return len(self.refs)

    def start(self, parcels: Sequence[Parcel]) -> None:
        """As Ray finds room."""
        for parcel in parcels:
            self.refs[self.remote.remote(parcel)] = parcel.number

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """Jobs that ended."""
        import ray

        ended, _ = ray.wait(list(self.refs), num_returns=len(self.refs), timeout=seconds)
        return {self.refs.pop(ref): result(ref) for ref in ended}

    def drop_waiting(self) -> None:
        """Those that have not said that they began."""
        import ray

        for ref, number in self.refs.items():
            if not (self.sweep / "jobs" / f"{number}.json").exists():
                ray.cancel(ref)

    def end(self, seconds: float) -> None:
        """Wait until running jobs have ended themselves."""
        import ray

        ray.wait(list(self.refs), num_returns=len(self.refs), timeout=seconds)

    def close(self) -> None:
        """Ray itself stays for the next launch; it ends with the process."""
        import ray

        for ref in self.refs:
            ray.cancel(ref, force=True)


def run_parcel(parcel: Parcel) -> JobReturn:
    """In a process of Ray's."""
    return parcel()


def result(ref: Any) -> JobReturn:
    """Of a task that has ended."""
    import ray

    try:
        returned: JobReturn = ray.get(ref)
    except ray.exceptions.RayError as error:
        logger.error("%s", str(error).splitlines()[0])
        return died(error)
    return returned
