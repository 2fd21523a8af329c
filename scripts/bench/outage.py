"""A sweep whose MLflow server is killed for two minutes, against the same sweep with a server that lives.

Real commands, a real `mlflow server`, kill -9. The two kinds of sweep take turns, so that a machine that gets slower
or faster does so for both. In the end the server's database is read: each step of each run must be there once.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from statistics import median

from bench.dataset import make_dataset
from bench.job import overrides

OUTAGE_SECONDS = 120.0
PAIRS = 2
SEEDS = (0, 1, 2, 3)  # a job each, in turn
SIZE, STRIDE, NUM_POSITIONS = (180, 240), 25, 67 + 20 * 9
PASSES = 1  # over the window an iteration: as many as make a job last a minute
FAST = ["precision=bfloat16", "channels_last=true"]


def measure(folder: Path) -> list[dict[str, object]]:
    """One row a job: the medians of its seconds, and of the ratios of each pair; and what the database holds."""
    root = make_dataset(folder, height=SIZE[0], width=SIZE[1], num_frames=NUM_POSITIONS * STRIDE, stride=STRIDE)
    job = overrides(folder, root, size=SIZE, stride=STRIDE, learn=67, test=20)
    outputs = folder / "outage"
    shutil.rmtree(outputs, ignore_errors=True)
    server = Server(outputs / "server")
    server.start()
    job = [word for word in job if not word.startswith(("tracking=", "paths.outputs="))]
    job += [*FAST, f"stage.epochs={PASSES}", "threads=1", "run.overlay_video=false", f"tracking.uri={server.uri}"]
    job += [f"paths.outputs={outputs}", f"paths.cache={folder / 'outputs' / 'cache'}"]
    seeds = ",".join(map(str, SEEDS))
    seconds: dict[bool, list[list[float]]] = {False: [], True: []}
    try:
        sweep([*job, "window.step=80", "stage.epochs=1", "seed=0"])  # frames and labels are there from now on
        for pair in range(PAIRS):
            for has_outage in (False, True) if pair % 2 == 0 else (True, False):
                command = [*job, f"run.repeat={1 + 2 * pair + has_outage}", f"seed={seeds}"]
                seconds[has_outage].append(sweep(command, server if has_outage else None))
    finally:
        server.kill()
    rows: list[dict[str, object]] = []
    for number, seed in enumerate(SEEDS):
        live, outage = ([found[number] for found in seconds[kind]] for kind in (False, True))
        ratios = [b / a for a, b in zip(live, outage, strict=True)]
        row = {"job": f"seed={seed}", "live_seconds": median(live), "outage_seconds": median(outage)}
        rows.append(row | {"ratio": median(ratios), "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios)})
    return [row | stored(server.database, outputs) for row in rows]


class Server:
    """`mlflow server` on SQLite, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, folder / "mlflow.db"
        folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = f"-m mlflow server --host 127.0.0.1 --port {self.port} --workers 1".split()
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log.txt").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(900):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"mlflow server does not start: {self.folder / 'log.txt'}")

    def kill(self) -> None:
        """With signal 9, all its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def sweep(command: list[str], server: Server | None = None) -> list[float]:
    """Run a sweep; with a server, kill that after the first iteration, for two minutes. Seconds of each job."""
    outputs = Path(next(word for word in command if word.startswith("paths.outputs=")).partition("=")[2])
    known = set(outputs.glob("sweeps/*"))
    before = num_lines(outputs)
    with (outputs / "log.txt").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "odkd", "-m", *command], stdout=log, stderr=log)
        if server is not None:
            while num_lines(outputs) == before and process.poll() is None:
                time.sleep(0.1)
            server.kill()
            time.sleep(OUTAGE_SECONDS)
            if process.poll() is not None:
                raise RuntimeError(f"the sweep ended within {OUTAGE_SECONDS:g} s: the outage must end before it")
            server.start()
        if process.wait() != 0:
            raise RuntimeError(f"a sweep failed, see {outputs / 'log.txt'}")
    (folder,) = set(outputs.glob("sweeps/*")) - known
    return [float(job["seconds"]) for job in json.loads((folder / "sweep.json").read_text())["jobs"]]


def num_lines(outputs: Path) -> int:
    """Iterations that all runs have published."""
    return sum(len(path.read_text().splitlines()) for path in outputs.glob("runs/*/metrics.jsonl"))


def stored(database: Path, outputs: Path) -> dict[str, object]:
    """What the server's database says of all these sweeps: steps missing, steps that are there twice, open runs."""
    with closing(sqlite3.connect(database)) as connection:
        steps = connection.execute("SELECT run_uuid, step FROM metrics WHERE key = 'test/miou'").fetchall()
        (num_open,) = connection.execute("SELECT COUNT(*) FROM runs WHERE status != 'FINISHED'").fetchone()
    return {
        "missing": num_lines(outputs) - len(set(steps)),
        "twice": len(steps) - len(set(steps)),
        "not_finished": num_open,
    }
