"""Run the parts: each in a process of its own with its own time, and the report written after each."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu.plan import SPARE_SECONDS, Part, waves
from gpu.report import Outcome, status_of
from gpu.result import read_result

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.1
LOG_LINES = 12
LOG_BYTES = 4000


@dataclass(frozen=True)
class Job:
    """What all parts have in common.

    Args:
        device: the device's name.
        folder: for logs, results and what the parts make.
        command: that runs a part, before its own arguments.
        cores: CPU cores, which the parts of a wave divide.
        patience: see `Part.seconds`.
    """

    device: str
    folder: Path
    command: Sequence[str] = (sys.executable, "-m", "gpu.child")
    cores: int = os.cpu_count() or 1
    patience: float = 1.0


def run_parts(
    names: Sequence[str], job: Job, *, seconds: float, tell: Callable[[Sequence[Outcome]], None]
) -> list[Outcome]:
    """Run the chosen parts within `seconds`; return how each ended. What does not fit is skipped, and says so.

    Args:
        tell: called with all outcomes so far whenever there is a new one.
    """
    ends = time.monotonic() + seconds - SPARE_SECONDS
    outcomes: list[Outcome] = []
    for wave in waves(names):
        left = ends - time.monotonic()
        running: list[_Child] = []
        for part in wave:
            if (limit := part.seconds(left, patience=job.patience)) is None:
                reason = f"{max(0, left):.0f} s of the time are left, and it needs {part.least:.0f} s: raise --minutes"
                outcomes.append(Outcome(part.name, part.question, "skipped", 0, reason))
            else:
                running.append(_Child(part, job, limit, num_beside=len(wave)))
        tell(outcomes)
        try:
            while running:
                time.sleep(LOOK_SECONDS)
                for child in [child for child in running if child.has_ended()]:
                    running.remove(child)
                    outcomes.append(child.outcome())
                    tell(outcomes)
        finally:
            for child in running:  # Ctrl-C
                child.kill()
    return outcomes


class _Child:
    """The process of a part."""

    def __init__(self, part: Part, job: Job, limit: float, *, num_beside: int) -> None:
        self._part, self._limit, self._started = part, limit, time.monotonic()
        self._ran_out = False
        folder = job.folder / part.name
        folder.mkdir(parents=True, exist_ok=True)
        self._result, self._log = folder / "result.json", folder / "log.txt"
        self._result.unlink(missing_ok=True)
        paths = [str(ROOT), str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        if num_beside > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, job.cores // num_beside))
        arguments = [part.name, job.device, str(folder), str(job.folder / "shared"), str(limit)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*job.command, *arguments], stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
            )

    def has_ended(self) -> bool:
        """Return True once the process is over; one that ran past its time is killed, with all that it started."""
        if time.monotonic() - self._started > self._limit and self._process.poll() is None:
            self.kill()
            self._ran_out = True
        return self._process.poll() is not None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def outcome(self) -> Outcome:
        found = read_result(self._result)
        code = None if self._ran_out else self._process.returncode
        status, seconds = status_of(found, code), time.monotonic() - self._started
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()[-LOG_LINES:]
        reason = ""
        if status == "timeout":
            reason = f"ended after {self._limit:.0f} s; what it found until then is kept"
        elif status == "failed":
            how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
            reason = f"ended {how}: {lines[-1] if lines else 'no output'}"
        log = "\n".join(lines) if reason else ""
        return Outcome(self._part.name, self._part.question, status, seconds, reason, log, found)
