"""A sweep of many tiny jobs: what a job costs beyond its own work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.core.case import Case
from bench.core.result import Result, measured
from bench.one_layer import SETTINGS as ONE_LAYER

CASE = Case(
    question="What does a job of a sweep cost beyond its own work?",
    method="`odkd -m debug=smoke` with windows of a few frames, over few and over more seeds, one job after the other; "
    "the difference in seconds a job is what a job costs after the first. Its own work, the seconds of its iterations "
    "in timing.jsonl, is taken off. The student is one layer. The baseline is one command a job, less its own work. "
    "With and without MLflow, and with plots and page of each job, which jobs below a minute leave to `odkd-report`.",
    repeats=1,
    seconds=80,
)
FEW, MORE = 2, 12
VARIANTS = {
    "with MLflow": ["tracking=mlflow"],
    "tracking=none": ["tracking=none"],
    "with plots and page, tracking=none": ["tracking=none", "run.plots=true", "run.report=true"],
}


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the overhead of a job by variant, and its own work."""
    cache = folder / "sweep-cache"
    job = ["debug=smoke", "window={learn: 4, test: 4, step: 20}", f"paths.cache={cache}", *ONE_LAYER]
    outputs = folder / "sweep-outputs"
    few, more = (1, 3) if quick else (FEW, MORE)
    run(outputs, [*job, "tracking=none"])  # renders, decodes and labels
    results, works = [], []
    for name, settings in list(VARIANTS.items())[1 if quick else 0 : 2 if quick else None]:
        own = [*job, *settings]
        alone = run(outputs, own)
        alone -= own_work(outputs)
        walls = [run(outputs, ["-m", *own, f"seed=range({number})"]) for number in (few, more)]
        works.append(own_work(outputs))
        overhead = (walls[1] - walls[0]) / (more - few) - works[-1]
        what, baseline = f"overhead of a job, {name}", ("a command a job", [alone])
        results.append(measured(what, [overhead], "s a job", baseline=baseline, headline=name in list(VARIANTS)[:2]))
    return [*results, measured("own work", works, "s a job")]


def run(outputs: Path, words: list[str]) -> float:
    """Run an `odkd` command in an empty outputs folder; return its seconds."""
    shutil.rmtree(outputs, ignore_errors=True)
    started = perf_counter()
    command = [sys.executable, "-m", "odkd", *words, f"paths.outputs={outputs}"]
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]  # the student is in the first
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return perf_counter() - started


def own_work(outputs: Path) -> float:
    """Return the median seconds that a job has spent in its iterations."""
    return median(
        sum(
            sum(value for name, value in json.loads(line)["metrics"].items() if name.endswith("_seconds"))
            for line in path.read_text().splitlines()
        )
        for path in outputs.glob("runs/*/timing.jsonl")
    )
