"""The queues in which submitit's jobs wait and run: Slurm's, or processes of this machine."""

import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any, Protocol

logger = logging.getLogger(__name__)
SubmititJob = Any  # submitit.Job; submitit is imported only where it is used
ASK_SECONDS = 10.0  # interval between two requests to Slurm
LATE_SECONDS = 30.0  # the longest delay until a network disk shows the result of a job that has left the queue


class Queue(Protocol):
    """The place where jobs wait and run."""

    ask_seconds: float  # interval between two requests
    late_seconds: float  # the longest delay until the result of a job that is gone can be seen

    def alive(self, jobs: Sequence[SubmititJob]) -> set[str]:
        """Return the ids of the jobs that wait or run."""

    def drop_waiting(self, jobs: Sequence[SubmititJob]) -> None:
        """Remove the waiting jobs from the queue."""

    def terminate(self, jobs: Sequence[SubmititJob]) -> None:
        """Send SIGTERM to the running jobs."""

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """End all jobs."""


class SlurmQueue:
    """The queue of Slurm."""

    ask_seconds, late_seconds = ASK_SECONDS, LATE_SECONDS

    def alive(self, jobs: Sequence[SubmititJob]) -> set[str]:
        """Return the ids that squeue lists: jobs that wait (also requeued ones), run, or are about to end."""
        arrays = sorted({job.job_id.partition("_")[0] for job in jobs})
        asked = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode != 0 and "Invalid job id" not in asked.stderr:  # said of jobs that ended long ago
            logger.warning("squeue does not answer: %s", asked.stderr.strip())
            return {job.job_id for job in jobs}
        return set(asked.stdout.split())

    def drop_waiting(self, jobs: Sequence[SubmititJob]) -> None:
        """Cancel the waiting jobs; running jobs of the same array continue."""
        scancel(jobs, "--state=PENDING")

    def terminate(self, jobs: Sequence[SubmititJob]) -> None:
        """Send SIGTERM only, not SIGKILL: a job may need time to end."""
        scancel(jobs, "--state=RUNNING", "--signal=TERM")

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """Let Slurm send SIGTERM and soon afterwards SIGKILL."""
        scancel(jobs)


def scancel(jobs: Sequence[SubmititJob], *options: str) -> None:
    """Call scancel for jobs, if there are any; jobs that are already gone are not an error."""
    if jobs:
        subprocess.run(["scancel", "--quiet", *options, *(job.job_id for job in jobs)], check=False)


class LocalQueue:
    """Processes of this machine: submitit starts one for each job, which forwards signals; the job's id is its pid."""

    ask_seconds = late_seconds = 0.0

    def alive(self, jobs: Sequence[SubmititJob]) -> set[str]:
        """Return the ids of the jobs that have not ended."""
        return {job.job_id for job in jobs if not job.done()}

    def drop_waiting(self, jobs: Sequence[SubmititJob]) -> None:
        """Do nothing: no job waits."""

    def terminate(self, jobs: Sequence[SubmititJob]) -> None:
        """Send SIGTERM, which is forwarded to the jobs."""
        for name in self.alive(jobs):
            os.kill(int(name), signal.SIGTERM)

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """Send SIGTERM: no stronger signal would be forwarded to the jobs."""
        self.terminate(jobs)
