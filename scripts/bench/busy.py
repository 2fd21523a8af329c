"""The main job beside busy processes: its time against its time alone divided by its fair share of the cores."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.core.case import Case
from bench.core.machine import num_cores
from bench.core.result import Result, measured, size_name
from bench.dataset import make_video
from bench.job import FAST, SMALL, overrides

CASE = Case(
    question="What does the main job lose beside other busy processes, more than its share of the cores?",
    method="An iteration of the complete `odkd` command alone, and beside one and two processes that compute without "
    "end (one thread each), in turn. The baseline is the time alone divided by the fair share: with t threads, k busy "
    "processes and c cores it has t / (t + k) of the cores, at most t of them. `OMP_WAIT_POLICY` is unset.",
    repeats=2,
    seconds=80,
)
ROUNDS, SIZE, STRIDE = 2, (360, 480), 8
LEARN, TEST, STEP = 4, 2, 6
BESIDE = (0, 1, 2)


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the seconds of an iteration beside so many processes, against its fair share."""
    size, rounds = (SMALL, 1) if quick else (SIZE, ROUNDS)
    stride = 4 * STRIDE if not quick else STRIDE
    job = overrides(folder / "busy", make_video(folder, size), size=size, stride=stride, learn=LEARN, test=TEST)
    job += [f"window.step={STEP if not quick else TEST}", *FAST, "run.report=false", "run.plots=false"]
    iteration_seconds(folder, job)  # decodes and labels
    seconds: dict[int, list[float]] = {number: [] for number in BESIDE}
    for _ in range(rounds):
        for number in BESIDE:
            with busy_processes(number):
                seconds[number].append(iteration_seconds(folder, job))
    cores = threads = num_cores()
    results = [measured("an iteration alone", seconds[0], "s", size=size_name(size))]
    for number in BESIDE[1:]:
        share = min(1.0, cores / (threads + number))  # of its time alone
        fair = [alone / share for alone in seconds[0]]
        what = f"an iteration beside {number} busy process{'es' * (number > 1)}"
        baseline = ("alone, at its fair share", fair)
        results.append(measured(what, seconds[number], "s", size=size_name(size), baseline=baseline, headline=True))
    return results


def iteration_seconds(folder: Path, job: list[str]) -> float:
    """Run the job; return the median seconds of its iterations with a full window."""
    shutil.rmtree(folder / "busy" / "outputs" / "runs", ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-m", "odkd", *job]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    (timing,) = (folder / "busy" / "outputs" / "runs").glob("*/timing.jsonl")
    lines = [json.loads(line)["metrics"] for line in timing.read_text().splitlines()]
    return float(median(sum(v for name, v in line.items() if name.endswith("_seconds")) for line in lines[2:]))


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Have so many processes compute while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
