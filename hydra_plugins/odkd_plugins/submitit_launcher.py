"""Launcher for jobs as a Slurm array, or as processes of this machine, with submitit.

hydra-submitit-launcher waits for results in turn and raises the first error, cancels nothing, and relies on sacct,
which not every cluster has; this launcher uses squeue. A job that Slurm is about to end (time limit, preemption) marks
its run killed, keeps its checkpoint, puts itself back into the queue, and resumes from the checkpoint.
"""

import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra.core.utils import JobReturn
from hydra.errors import HydraException

from odkd.common.isolation import deaf_to_interrupts
from odkd.common.names import counted
from odkd.common.optional import check_installed
from odkd.runs.outcome import announce_exit
from odkd.runs.records import NOTE_OF_JOB, read_form

from .jobs import OdkdLauncher, Parcel, died
from .submitit_queues import LocalQueue, Queue, SlurmQueue, SubmititJob

logger = logging.getLogger(__name__)
MAX_ARRAY = 1000  # jobs of one array; Slurm's default limit


class SubmititLauncher(OdkdLauncher):
    """A launcher that submits jobs and waits for them.

    Args:
        cluster: slurm, or local for processes of this machine.
        array_parallelism: maximum number of jobs that run at the same time.
        timeout_min: time limit of a job in minutes; a job that reaches it is ended and requeued.
        signal_delay_s: seconds between the warning signal to a job and the time limit.
        max_num_timeout: how often a job that reached the time limit is requeued.
        cpus_per_task: cores and threads of a job.
        gpus_per_node: GPUs of a job; 0 for none.
        mem_gb: main memory of a job in GB; None for the cluster's default.
        sbatch: any other option of sbatch, by its long name.
        setup: shell commands that run before each job.
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
            array_parallelism=array_parallelism,
            timeout_min=timeout_min,
            signal_delay_s=signal_delay_s,
            cpus_per_task=cpus_per_task,
        )
        check_installed(f"hydra/launcher={'slurm' if cluster == 'slurm' else 'submitit_local'}", ["submitit"])
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise HydraException(
                "hydra/launcher=slurm: there is no sbatch here; start the sweep on a login node of the cluster, "
                "or choose hydra/launcher=joblib"
            )
        self.cluster, self.array_parallelism, self.cpus_per_task = cluster, array_parallelism, cpus_per_task
        self.timeout_min, self.signal_delay_s, self.max_num_timeout = timeout_min, signal_delay_s, max_num_timeout
        self.gpus_per_node, self.mem_gb = gpus_per_node, mem_gb
        self.sbatch = {name: value for name, value in (sbatch or {}).items() if value is not None}
        for name, value in self.sbatch.items():
            if not str(value).isprintable():  # the rest of it would be a line of the script
                raise HydraException(f"hydra.launcher.sbatch.{name}={value!r}; expected one line")
        self.setup_lines = list(setup or [])

    def environment(self) -> dict[str, str]:
        """Return variables for as many threads as cores."""
        from .slots import thread_settings

        return thread_settings(self.cpus_per_task, os.environ)

    def workers(self, num_jobs: int) -> "Submitted":
        """Return the jobs of one submitit executor, whose files are in the sweep's folder."""
        import submitit

        folder = Path(self.config.hydra.sweep.dir)
        logger.info(
            "%s, up to %d at a time; their logs are in %s",
            counted(num_jobs, "job"),
            self.array_parallelism,
            folder / "submitit",
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
        """Return the job to requeue; submitit calls this before the job's end and then exits: the run is killed."""
        from submitit.helpers import DelayedSubmission

        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another signal must not interrupt the ending
        announce_exit()
        return DelayedSubmission(self)


class Submitted:
    """The `Workers` of submitit: its jobs."""

    def __init__(self, executor: Any, queue: Queue, max_running: int, sweep: Path) -> None:
        self.executor, self.queue, self.max_running, self.sweep = executor, queue, max_running, sweep
        self.jobs: dict[int, SubmititJob] = {}
        self.gone: dict[int, float] = {}  # jobs that left the queue without a result -> since when
        self.asked = -math.inf

    def room(self) -> int:
        """Return how many jobs may be submitted; Slurm limits the running ones to array_parallelism itself."""
        return self.max_running - len(self.jobs)

    def num_running(self) -> int:
        """Return the number of jobs in the queue or running."""
        return len(self.jobs)

    def start(self, parcels: Sequence[Parcel]) -> None:
        """Submit jobs as one array."""
        with deaf_to_interrupts(), self.executor.batch():
            jobs = [self.executor.submit(Errand(**vars(parcel))) for parcel in parcels]
        self.jobs |= {parcel.number: job for parcel, job in zip(parcels, jobs, strict=True)}

    def done(self, seconds: float) -> dict[int, JobReturn]:
        """Return the jobs that have a result or left the queue without one, by number, after a pause of `seconds`."""
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
        """Remove jobs that are done."""
        for number in numbers:
            del self.jobs[number]
            self.gone.pop(number, None)

    def result(self, job: SubmititJob) -> JobReturn:
        """Return the result of a job that has ended."""
        if not job.paths.result_pickle.exists():
            return died(RuntimeError(f"the job's process died; its log: {job.paths.stderr}"))
        try:
            returned: JobReturn = job.result()
        except Exception as error:
            return died(error)
        return returned

    def tell(self, number: int) -> None:
        """Log a line in the launching process, which does not see the log messages of other processes."""
        try:
            record = read_form(self.sweep / "jobs", f"{number}.json", NOTE_OF_JOB)
        except FileNotFoundError:
            record = {"status": "never began", "error": None}
        status = "died" if record["status"] == "running" else record["status"]
        logger.info("job %d %s%s", number, status, f": {record['error']}" if record.get("error") else "")

    def drop_waiting(self) -> None:
        """Cancel the jobs that wait in the queue of Slurm."""
        self.queue.drop_waiting(list(self.jobs.values()))

    def end(self, seconds: float) -> None:
        """Send a signal too, and wait: a network disk may show the stop file late."""
        self.queue.terminate(list(self.jobs.values()))
        deadline = time.monotonic() + seconds
        while self.jobs and time.monotonic() < deadline:
            alive = self.queue.alive(list(self.jobs.values()))
            self.forget([number for number, job in self.jobs.items() if job.job_id not in alive])
            time.sleep(1.0)

    def close(self) -> None:
        """Cancel the remaining jobs."""
        self.queue.cancel(list(self.jobs.values()))
