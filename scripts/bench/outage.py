"""A sweep whose MLflow server is down for two minutes, compared with the same sweep without an outage.

Uses real commands, real `mlflow server` processes, and SIGKILL. The two sweeps run in parallel, one core each, so that
changes in machine speed affect both. Finally the database is read: each step of each run must be stored exactly once.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from bench.core.case import Case, SkippedError
from bench.core.result import Result, measured, size_name
from bench.dataset import make_dataset
from bench.job import FAST, overrides
from bench.server import Server

CASE = Case(
    question="Does a dead MLflow server slow a sweep, or lose anything?",
    method="Two sweeps of four jobs in parallel, with one core and one real `mlflow server` each. One server is killed "
    "(`kill -9`) after the first iteration and started again two minutes later, while the sweep continues. The test "
    "runs twice, with the starting order swapped. Then the killed server's database is read: steps that are missing "
    "or stored twice, and runs that are not finished.",
    repeats=2,
    seconds=600,
    is_long=True,
)
OUTAGE_SECONDS = 120.0
PAIRS = 2
SEEDS = (0, 1, 2, 3)  # one job each, in turn
SIZE, STRIDE, NUM_POSITIONS = (180, 240), 25, 67 + 20 * 9


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the seconds of each job against those without an outage, and counts from the killed server's database."""
    if quick:
        raise SkippedError("an outage of two minutes cannot be made shorter")
    root = make_dataset(folder, height=SIZE[0], width=SIZE[1], num_frames=NUM_POSITIONS * STRIDE, stride=STRIDE)
    job = overrides(folder, root, size=SIZE, stride=STRIDE, learn=67, test=20)
    base = folder / "outage"
    shutil.rmtree(base, ignore_errors=True)
    job = [word for word in job if not word.startswith(("tracking=", "paths.outputs="))]
    job += [*FAST, "threads=1", "run.overlay_video=false", f"paths.cache={folder / 'outputs' / 'cache'}"]
    sweeps = {kind: Sweep(base / kind, job) for kind in ("live", "outage")}
    seconds: dict[str, list[list[float]]] = {"live": [], "outage": []}
    try:
        sweeps["live"].start(["window.step=80", "seed=0"])  # caches frames and labels
        sweeps["live"].wait()
        for pair in range(PAIRS):
            for kind in ("live", "outage") if pair % 2 == 0 else ("outage", "live"):
                sweeps[kind].start([f"run.repeat={pair}", f"seed={','.join(map(str, SEEDS))}"])
            sweeps["outage"].kill_the_server_for(OUTAGE_SECONDS)
            for kind, found in seconds.items():
                found.append(sweeps[kind].wait())
    finally:
        for each in sweeps.values():
            each.server.kill()
    size, living = size_name(SIZE), "with a living server"
    results = []
    for number, seed in enumerate(SEEDS):
        live, outage = ([found[number] for found in seconds[kind]] for kind in ("live", "outage"))
        results.append(measured(f"job of seed {seed}", outage, "s", size=size, baseline=(living, live)))
    live, outage = ([sum(found) for found in seconds[kind]] for kind in ("live", "outage"))
    results.append(measured("all jobs", outage, "s", size=size, baseline=(living, live), headline=True))
    return [*results, *(measured(what, [count], "", size=size) for what, count in stored(sweeps["outage"]).items())]


class Sweep:
    """Sweeps of one kind: an outputs folder, a separate server, one command at a time."""

    def __init__(self, folder: Path, job: list[str]) -> None:
        self.server = Server(folder / "server")
        self.server.start()
        self.outputs = folder
        self._job = [*job, f"tracking.uri={self.server.uri}", f"paths.outputs={folder}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[Path] = set()

    def start(self, overrides: list[str]) -> None:
        """Start the sweep; do not wait for it."""
        self._known, self._before = set(self.outputs.glob("sweeps/*")), self.num_lines()
        with (self.outputs / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", "odkd", "-m", *self._job, *overrides]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill_the_server_for(self, seconds: float) -> None:
        """Kill the server at the first iteration and restart it after `seconds`.

        Raises:
            RuntimeError: the sweep ended during the outage.
        """
        assert self._process is not None
        while self.num_lines() == self._before and self._process.poll() is None:
            time.sleep(0.1)
        self.server.kill()
        time.sleep(seconds)
        if self._process.poll() is not None:
            raise RuntimeError(f"the sweep ended within the outage of {seconds:g} s; expected a longer sweep")
        self.server.start()

    def wait(self) -> list[float]:
        """Wait until the sweep has ended; return the seconds of each job."""
        assert self._process is not None
        if self._process.wait() != 0:
            raise RuntimeError(f"a sweep failed, see {self.outputs / 'log.txt'}")
        (folder,) = set(self.outputs.glob("sweeps/*")) - self._known
        return [float(job["seconds"]) for job in json.loads((folder / "sweep.json").read_text())["jobs"]]

    def num_lines(self) -> int:
        """Return the number of iterations published by all runs."""
        return sum(len(path.read_text().splitlines()) for path in self.outputs.glob("runs/*/metrics.jsonl"))


def stored(sweeps: Sweep) -> dict[str, int]:
    """Return from the server's database: numbers of missing steps, of duplicate steps, and of unfinished runs."""
    with closing(sqlite3.connect(sweeps.server.database)) as connection:
        steps = connection.execute("SELECT run_uuid, step FROM metrics WHERE key = 'test/miou'").fetchall()
        (num_open,) = connection.execute("SELECT COUNT(*) FROM runs WHERE status != 'FINISHED'").fetchone()
    return {
        "steps missing": sweeps.num_lines() - len(set(steps)),
        "steps stored twice": len(steps) - len(set(steps)),
        "runs not finished": num_open,
    }
