"""Launcher for jobs on Ray: on a cluster, or on a local instance that lives as long as the sweep.

hydra-ray-launcher 1.2.2 requires cloudpickle 2 and installs boto3 and Ray's dashboard; it waits for all results and
raises the first error. Here a job is a task that is never retried, and its outcome is in the sweep's folder.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException

from odkd.common.names import counted
from odkd.common.optional import check_installed

from .jobs import OdkdLauncher, Parcel, died

logger = logging.getLogger(__name__)
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # send no usage statistics
    "RAY_DEDUP_LOGS": "0",  # similar log lines of different jobs are no duplicates
}


class RayLauncher(OdkdLauncher):
    """A launcher that submits all jobs to Ray, which starts them when resources are free.

    Args:
        address: address of a cluster; None for RAY_ADDRESS, else this machine.
        num_cpus: cores for a local Ray instance; None for all.
        cpus_per_job: cores and threads of a job.
        gpus_per_job: number or fraction of GPUs of a job; None for 1 if there are any.
        resources: other resources of a job.
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
        check_installed("hydra/launcher=ray", ["ray"])
        self.address, self.num_cpus, self.cpus_per_job = address, num_cpus, cpus_per_job
        self.gpus_per_job, self.resources = gpus_per_job, dict(resources)

    def environment(self) -> dict[str, str]:
        """Return variables for as many threads as cores; they hide the GPUs from a job that gets none."""
        from .slots import thread_settings

        blind = {"CUDA_VISIBLE_DEVICES": ""} if self.gpus_per_job == 0 else {}
        return thread_settings(self.cpus_per_job, os.environ) | blind

    def workers(self, num_jobs: int) -> "Tasks":
        """Start Ray or connect to it, and return its tasks."""
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
        logger.info("%s; Ray has %g cores and %g GPUs", counted(num_jobs, "job"), has.get("CPU", 0), has.get("GPU", 0))
        return Tasks(needs, Path(self.config.hydra.sweep.dir))


class Tasks:
    """The `Workers` of Ray: its tasks."""

    def __init__(self, needs: dict[str, Any], sweep: Path) -> None:
        import ray

        # No retry: to try a failed job again is the user's decision (by the same command).
        self.remote = ray.remote(run_parcel).options(max_retries=0, **needs)
        self.sweep = sweep
        self.refs: dict[Any, int] = {}  # reference of a waiting or running job -> its number

    def room(self) -> int:
        """Return no limit: jobs wait in Ray."""
        return sys.maxsize

    def num_running(self) -> int:
        """Return the number of waiting and running jobs."""
        return len(self.refs)

    def start(self, parcels: Sequence[Parcel]) -> None:
        """Submit jobs to Ray."""
        for parcel in parcels:
            self.refs[self.remote.remote(parcel)] = parcel.number

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """Return the results of the jobs that ended, by number; wait up to `seconds` for them."""
        import ray

        ended, _ = ray.wait(list(self.refs), num_returns=len(self.refs), timeout=seconds)
        return {self.refs.pop(ref): result(ref) for ref in ended}

    def drop_waiting(self) -> None:
        """Cancel the jobs that have not noted that they began."""
        import ray

        for ref, number in self.refs.items():
            if not (self.sweep / "jobs" / f"{number}.json").exists():
                ray.cancel(ref)

    def end(self, seconds: float) -> None:
        """Wait until running jobs have ended themselves."""
        import ray

        ray.wait(list(self.refs), num_returns=len(self.refs), timeout=seconds)

    def close(self) -> None:
        """Cancel all tasks; Ray itself stays for the next launch and ends with the process."""
        import ray

        for ref in self.refs:
            ray.cancel(ref, force=True)


def run_parcel(parcel: Parcel) -> JobReturn:
    """Run a job in a process of Ray."""
    return parcel()


def result(ref: Any) -> JobReturn:
    """Return the result of a task that has ended."""
    import ray

    try:
        returned: JobReturn = ray.get(ref)
    except ray.exceptions.RayError as error:
        logger.error("%s", str(error).splitlines()[0])
        return died(error)
    return returned
