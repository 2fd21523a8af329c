"""A thread that writes the files of a run behind its loop: one job after the other, in the order of the calls."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MAX_WAITING = 3  # jobs that are not done, so that memory stays bounded on a slow disk


class Behind:
    """Jobs on one thread. After a job has failed no later one starts, so files are never ahead of earlier ones."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: deque[Future[None]] = deque()
        self._error: BaseException | None = None

    def do(self, job: Callable[[], None]) -> None:
        """Start `job` after all earlier ones and return; wait for the oldest first if too many are not done.

        Raises:
            The error of an earlier job that has failed since the last call.
        """
        while self._jobs and (len(self._jobs) >= MAX_WAITING or self._jobs[0].done()):
            self._jobs.popleft().result()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="odkd-writer")
        self._jobs.append(self._pool.submit(self._try, job))

    def wait(self) -> None:
        """Wait until all jobs are done.

        Raises:
            The error of the job that has failed.
        """
        while self._jobs:
            self._jobs.popleft().result()

    def close(self) -> None:
        """Wait until no job is running, and forget errors; `do` may be called again afterwards."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._pool, self._error = None, None
        self._jobs.clear()

    def _try(self, job: Callable[[], None]) -> None:
        if self._error is not None:
            raise self._error
        try:
            job()
        except BaseException as error:
            self._error = error
            raise
