"""Jobs as a Slurm array, or with the same machinery as processes of this machine (submitit).

hydra-submitit-launcher waits for results in turn and raises the first error, cancels nothing, and believes sacct,
which not every cluster has; this one asks squeue. A job that Slurm is about to end (time limit, preemption) marks its
run killed, keeps its checkpoint, puts itself back into the queue, and goes on from there.
"""

import importlib.util
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from hydra.core.utils import JobReturn
from hydra.errors import HydraException

from odkd.common.isolation import deaf_to_interrupts
from odkd.runs.outcome import announce_exit

from .jobs import OdkdLauncher, Parcel, died

logger = logging.getLogger(__name__)
SubmititJob = Any  # submitit.Job, which is imported only where it is used
ASK_SECONDS = 10.0  # between two questions to Slurm
MAX_ARRAY = 1000  # jobs of one array; Slurm's default limit
LATE_SECONDS = 30.0  # how long a result may take to be seen through a network disk, when its job has left the queue


class SubmititLauncher(OdkdLauncher):
    """Submits jobs and waits for them.

    Args:
        cluster: slurm, or local: processes of this machine.
        array_parallelism: jobs that run at once.
        timeout_min: minutes that a job may take before it is ended, and requeued.
        signal_delay_s: seconds before that, at which a job hears of it.
        max_num_timeout: how often a job that ran out of time is requeued.
        cpus_per_task: cores, and threads, of a job.
        gpus_per_node: GPUs of a job; 0 for none.
        mem_gb: GB of a job's main memory; None for the cluster's default.
        sbatch: any other option of sbatch, by its long name.
        setup: lines of shell before each job.
    """

    def __init__(
        self,
        cluster: Literal["slurm", "local"],
        array_parallelism: int,
        timeout_min: int,
        signal_delay_s: int,
        max_num_timeout: int,
        cpus_per_task: int,
        gpus_per_node: int,
        mem_gb: float | None = None,
        sbatch: dict[str, Any] | None = None,
        setup: list[str] | None = None,
    ) -> None:
        from .slots import check_numbers

        check_numbers(
            array_parallelism=array_parallelism, timeout_min=timeout_min, signal_delay_s=signal_delay_s,
            cpus_per_task=cpus_per_task,
        )  # fmt: skip
        if importlib.util.find_spec("submitit") is None:
            raise HydraException("this launcher needs submitit; pip install 'odkd[slurm]'")
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise HydraException(
                "hydra/launcher=slurm: there is no sbatch here; start the sweep on a login node of the cluster, "
                "or choose hydra/launcher=joblib"
            )
        self.cluster, self.array_parallelism, self.cpus_per_task = cluster, array_parallelism, cpus_per_task
        self.timeout_min, self.signal_delay_s, self.max_num_timeout = timeout_min, signal_delay_s, max_num_timeout
        self.gpus_per_node, self.mem_gb = gpus_per_node, mem_gb
        self.sbatch = {name: value for name, value in (sbatch or {}).items() if value is not None}
        self.setup_lines = list(setup or [])

    def environment(self) -> dict[str, str]:
        """As many threads as cores."""
        from .slots import thread_settings

        return thread_settings(self.cpus_per_task, os.environ)

    def workers(self, num_jobs: int) -> "Submitted":
        """Jobs of one executor, which has its files in the sweep's folder."""
        import submitit

        folder = Path(self.config.hydra.sweep.dir)
        logger.info(
            "%d jobs, up to %d at a time; their logs are in %s", num_jobs, self.array_parallelism, folder / "submitit"
        )
        common = {"signal_delay_s": self.signal_delay_s, "setup": self.setup_lines}
        if self.cluster == "local":
            local = submitit.LocalExecutor(folder / "submitit", max_num_timeout=self.max_num_timeout)
            local.update_parameters(timeout_min=self.timeout_min, gpus_per_node=self.gpus_per_node, **common)
            return Submitted(local, LocalQueue(), self.array_parallelism, folder)
        slurm = submitit.SlurmExecutor(folder / "submitit", max_num_timeout=self.max_num_timeout)
        slurm.update_parameters(
            job_name=folder.name,
            time=self.timeout_min,
            cpus_per_task=self.cpus_per_task,
            gpus_per_node=self.gpus_per_node or None,
            mem=None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}MB",
            array_parallelism=self.array_parallelism,
            additional_parameters={"requeue": True, **self.sbatch},
            srun_args=[f"--cpus-per-task={self.cpus_per_task}"],  # since 22.05 srun does not inherit it
            **common,
        )
        return Submitted(slurm, SlurmQueue(), MAX_ARRAY, folder)


class Errand(Parcel):
    """A parcel that submitit can requeue."""

    def checkpoint(self) -> Any:
        """Called by submitit when the job is about to be ended; then it exits, which ends the run as killed."""
        from submitit.helpers import DelayedSubmission

        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the ending is not to be interrupted by its announcement
        announce_exit()
        return DelayedSubmission(self)


class Queue(Protocol):
    """Where jobs wait and run."""

    ask_seconds: float  # between two questions
    late_seconds: float  # how long a result may take to be seen when its job is gone

    def alive(self, jobs: Sequence[SubmititJob]) -> set[str]:
        """Ids of those that wait or run."""

    def drop_waiting(self, jobs: Sequence[SubmititJob]) -> None:
        """Take those that wait out of the queue."""

    def terminate(self, jobs: Sequence[SubmititJob]) -> None:
        """SIGTERM to those that run."""

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """End them all."""


class SlurmQueue:
    """Slurm's."""

    ask_seconds, late_seconds = ASK_SECONDS, LATE_SECONDS

    def alive(self, jobs: Sequence[SubmititJob]) -> set[str]:
        """By squeue, which shows what waits (also what was requeued), runs, or is just ending."""
        arrays = sorted({job.job_id.partition("_")[0] for job in jobs})
        asked = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if asked.returncode != 0 and "Invalid job id" not in asked.stderr:  # which it says of what is long gone
            logger.warning("squeue does not answer: %s", asked.stderr.strip())
            return {job.job_id for job in jobs}
        return set(asked.stdout.split())

    def drop_waiting(self, jobs: Sequence[SubmititJob]) -> None:
        """Of an array, running jobs stay."""
        scancel(jobs, "--state=PENDING")

    def terminate(self, jobs: Sequence[SubmititJob]) -> None:
        """Only the signal: a job may take its time."""
        scancel(jobs, "--state=RUNNING", "--signal=TERM")

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """SIGTERM, and soon SIGKILL."""
        scancel(jobs)


def scancel(jobs: Sequence[SubmititJob], *options: str) -> None:
    """Jobs that are gone already are no error."""
    if jobs:
        subprocess.run(["scancel", "--quiet", *options, *(job.job_id for job in jobs)], check=False)


class LocalQueue:
    """Processes of this machine: submitit has one for each job that passes signals on; its number is the job's id."""

    ask_seconds = late_seconds = 0.0

    def alive(self, jobs: Sequence[SubmititJob]) -> set[str]:
        """Those that have not ended."""
        return {job.job_id for job in jobs if not job.done()}

    def drop_waiting(self, jobs: Sequence[SubmititJob]) -> None:
        """None waits."""

    def terminate(self, jobs: Sequence[SubmititJob]) -> None:
        """Passed on to the jobs."""
        for name in self.alive(jobs):
            os.kill(int(name), signal.SIGTERM)

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """There is no harder way that would reach the job too."""
        self.terminate(jobs)


class Submitted:
    """`Workers` that are jobs of submitit."""

    def __init__(self, executor: Any, queue: Queue, max_running: int, sweep: Path) -> None:
        self.executor, self.queue, self.max_running, self.sweep = executor, queue, max_running, sweep
        self.jobs: dict[int, SubmititJob] = {}
        self.gone: dict[int, float] = {}  # jobs without a result that have left the queue, and since when
        self.asked = -math.inf

    def room(self) -> int:
        """Slurm keeps to array_parallelism itself."""
        return self.max_running - len(self.jobs)

    def num_running(self) -> int:
        """In the queue or at work."""
        return len(self.jobs)

    def start(self, parcels: Sequence[Parcel]) -> None:
        """As one array."""
        with deaf_to_interrupts(), self.executor.batch():
            jobs = [self.executor.submit(Errand(**vars(parcel))) for parcel in parcels]
        self.jobs |= {parcel.number: job for parcel, job in zip(parcels, jobs, strict=True)}

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """Jobs that have a result, or have left the queue without."""
        time.sleep(seconds)
        found = {number: self.result(job) for number, job in self.jobs.items() if job.paths.result_pickle.exists()}
        self.forget(found)
        now = time.monotonic()
        if self.jobs and now - self.asked >= self.queue.ask_seconds:
            self.asked = now
            alive = self.queue.alive(list(self.jobs.values()))
            self.gone = {
                number: self.gone.get(number, now) for number, job in self.jobs.items() if job.job_id not in alive
            }
            for number in [number for number, since in self.gone.items() if now - since >= self.queue.late_seconds]:
                found[number] = self.result(self.jobs[number])
                self.forget([number])
        for number in found:
            self.tell(number)
        return found

    def forget(self, numbers: Iterable[int]) -> None:
        """They are done."""
        for number in numbers:
            del self.jobs[number]
            self.gone.pop(number, None)

    def result(self, job: SubmititJob) -> JobReturn:
        """Of a job that is over."""
        if not job.paths.result_pickle.exists():
            return died(RuntimeError(f"the job's process died; its log: {job.paths.stderr}"))
        try:
            returned: JobReturn = job.result()
        except Exception as error:
            return died(error)
        return returned

    def tell(self, number: int) -> None:
        """A line to the console of the launching process, which hears nothing of jobs elsewhere."""
        try:
            record = json.loads((self.sweep / "jobs" / f"{number}.json").read_text())
        except FileNotFoundError:
            record = {"status": "never began", "error": None}
        status = "died" if record["status"] == "running" else record["status"]
        logger.info("job %d %s%s", number, status, f": {record['error']}" if record["error"] else "")

    def drop_waiting(self) -> None:
        """Only Slurm's can wait."""
        self.queue.drop_waiting(list(self.jobs.values()))

    def end(self, seconds: float) -> None:
        """Tell them by signal, too: a stop file may be seen late through a network disk."""
        self.queue.terminate(list(self.jobs.values()))
        deadline = time.monotonic() + seconds
        while self.jobs and time.monotonic() < deadline:
            alive = self.queue.alive(list(self.jobs.values()))
            self.forget([number for number, job in self.jobs.items() if job.job_id not in alive])
            time.sleep(1.0)

    def close(self) -> None:
        """Cancel what is left."""
        self.queue.cancel(list(self.jobs.values()))
