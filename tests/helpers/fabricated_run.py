"""Run folders with fabricated content, written in milliseconds instead of by a training, and their copies in MLflow."""

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from odkd.runs.mlflow_sync import sync


class FabricatedRun:
    """A run folder that grows like a real one: timing line, then metrics line; run.json is replaced atomically."""

    def __init__(self, outputs: Path, *, key: str = "0123abcd", created: str = "2026-11-21T10:00:00+00:00") -> None:
        self.outputs = outputs
        self.folder = outputs / "runs" / f"camvid-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.num_iterations = 0
        self.record: dict[str, Any] = {
            "key": key,
            "name": "camvid",
            "stage": "online",
            "status": "running",
            "created": created,
            "params": {"seed": "1", "student": "tinynet", "dataset.name": "camvid"},
            "tags": {"odkd.git.folder": "abc with uncommitted changes", "odkd.dataset_digest": "0123456789abcdef" * 4},
        }
        self.write()

    def write(self, **changes: Any) -> None:
        self.record |= changes
        temporary = self.folder / "run.json.tmp"
        temporary.write_text(json.dumps(self.record))
        temporary.replace(self.folder / "run.json")

    def publish(self, num_iterations: int, *, num_metrics: int = 40) -> None:
        for _ in range(num_iterations):
            iteration = self.num_iterations
            timing = {"time/learn_seconds": 0.1 + iteration}
            metrics = {f"test/iou/class {index}": iteration / 3 + index for index in range(num_metrics - 1)}
            self.line("timing.jsonl", iteration=iteration, time=1790000000.1234 + iteration, metrics=timing)
            self.line("metrics.jsonl", iteration=iteration, position=20 * iteration, metrics=metrics, domain="")
            self.num_iterations += 1

    def line(self, file: str, **values: Any) -> None:
        with (self.folder / file).open("a") as stream:
            stream.write(json.dumps(values) + "\n")

    def paint(self, *steps: int) -> None:
        """Write the stills of some iterations, each in another grey."""
        (self.folder / "stills").mkdir(exist_ok=True)
        for step in steps:
            Image.new("RGB", (640, 24), (step, step, step)).save(self.folder / "stills" / f"{step}.webp")
        stills = [{"file": f"{step}.webp", "caption": "", "step": step} for step in steps]
        (self.folder / "stills" / "stills.json").write_text(json.dumps({"titles": ["a", "b"], "stills": stills}))

    def end(self, status: str = "finished") -> None:
        """Write everything that a run writes when it ends."""
        (self.folder / "plots").mkdir(exist_ok=True)
        plots = ("plots/miou.png", "plots/losses.png")
        for name in (*plots, "overlay.mp4", "report.html", "student.safetensors", "config.yaml"):
            (self.folder / name).write_bytes(name.encode() * 1000)
        self.paint(3, 40)
        (self.folder / "summary.json").write_text(json.dumps({"total/miou": 0.5, "segments/forgetting": None}))
        self.write(status=status)


def metric_rows(database: Path) -> list[tuple[str, str, int, int, float]]:
    """Return all metrics in MLflow's store: (run id, key, step, timestamp, value)."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("select run_uuid, key, step, timestamp, value from metrics").fetchall()


def assert_each_step_once(database: Path, runs: list[FabricatedRun], *, num_metrics: int = 40) -> None:
    """Check that every (run, key, step) is in the store exactly once and none is missing."""
    rows = metric_rows(database)
    twice = [where for where, count in Counter(row[:3] for row in rows).items() if count > 1]
    assert not twice, f"{len(twice)} steps are stored twice, such as {twice[0]}"
    num_series = Counter(row[0] for row in rows if not row[1].startswith("summary/"))
    expected = Counter(run.num_iterations * num_metrics for run in runs)
    assert Counter(num_series.values()) == expected


def outputs_folder(parent: Path, database: Path) -> Path:
    """Create a folder of outputs with a copy of an MLflow database; its name contains a space, as users' paths may."""
    outputs = parent / "out puts"
    outputs.mkdir()
    shutil.copy(database, outputs / "mlflow.db")
    return outputs


def uri_of(outputs: Path) -> str:
    """Return the tracking URI of the database in a folder of outputs."""
    return f"sqlite:///{outputs / 'mlflow.db'}"


def sync_run(run: FabricatedRun, *, artifacts: bool = True, uri: str | None = None) -> int:
    """Copy a run to the experiment "study" of its outputs, or of `uri`."""
    return sync(run.folder, uri=uri or uri_of(run.outputs), experiment="study", artifacts=artifacts)


def runs_in(outputs: Path, experiment: str = "study") -> list[Any]:
    """Return the runs of an experiment, as MLflow's client returns them; empty if there is no such experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri_of(outputs))
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def images_in(outputs: Path, ending: str) -> list[tuple[int, Any]]:
    """Return step and one pixel of each image in MLflow whose file name has this ending: full size, or compressed."""
    paths = outputs.glob(f"mlartifacts/*/artifacts/images/overlay+step+*{ending}")
    return sorted((int(path.name.split("+")[2]), Image.open(path).convert("RGB").getpixel((5, 5))) for path in paths)
