"""Start-up: from the command line to help, and to the first iteration, on a warm cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from bench.core.case import Case
from bench.core.result import Result, measured
from bench.core.timing import in_turn

CASE = Case(
    question="How long does a user wait for help, and for the first iteration?",
    method="Processes in turn: `odkd --help` to its end; `odkd debug=smoke` to its first line about an iteration, with "
    "video, frames and labels in the cache, with MLflow and without tracking. Baselines "
    "are a Python that imports Hydra (help), and one that imports torch and PyAV (the job); the limit is a "
    "Python that does nothing.",
    repeats=3,
    seconds=70,
)
ROUNDS = 3
FIRST_LINE = "iteration 0/"


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return help and first iteration."""
    outputs = folder / "startup"
    smoke = ["debug=smoke", f"paths.outputs={outputs}", f"paths.cache={folder / 'startup-cache'}"]
    run_to_the_end([*smoke, "tracking=none"])  # renders, decodes and labels
    shutil.rmtree(outputs, ignore_errors=True)
    run_to_the_end([*smoke, "tracking=mlflow"])  # makes MLflow's tables
    seconds = in_turn(
        {
            "nothing": lambda: python("pass"),
            "hydra": lambda: python("import hydra"),
            "torch": lambda: python("import torch, av, hydra"),
            "odkd --help": lambda: run_to_the_end(["--help"]),
            "odkd debug=smoke tracking=none": lambda: first_iteration([*smoke, "tracking=none"]),
            "odkd debug=smoke": lambda: first_iteration(smoke),
        },
        1 if quick else ROUNDS,
        warm_up=False,
    )
    limit = ("python", seconds.pop("nothing"))
    baselines = {"odkd --help": ("import hydra", seconds.pop("hydra"))}
    usual = ("import torch, av, hydra", seconds.pop("torch"))
    return [
        measured(
            f"{what}, to its first iteration" if "smoke" in what else what,
            samples,
            "s",
            baseline=baselines.get(what, usual),
            limit=limit,
            headline=what in ("odkd --help", "odkd debug=smoke"),
        )
        for what, samples in seconds.items()
    ]


def python(code: str) -> None:
    """Run a Python process."""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def run_to_the_end(words: list[str]) -> None:
    """Run an `odkd` command."""
    subprocess.run([sys.executable, "-m", "odkd", *words], check=True, capture_output=True)


def first_iteration(words: list[str]) -> float:
    """Start a job over, wait for its first line about an iteration, and end it; return the seconds.

    Raises:
        RuntimeError: it ended without one.
    """
    command = [sys.executable, "-m", "odkd", *words, "run.restart=true"]
    started, environment = perf_counter(), os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if FIRST_LINE in line:
                seconds = perf_counter() - started
                process.kill()
                return seconds
    raise RuntimeError(f"{' '.join(command)} ended without a line {FIRST_LINE!r}")
