"""The files of a run that ended, for MLflow: what is not there yet; stills as images with a step slider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from odkd.results import Run

ARTIFACTS = ["config.yaml", "metrics.jsonl", "summary.json", "results.csv", "MODEL_CARD.md", "error.txt"]
ARTIFACTS += ["student.safetensors", "overlay.mp4", "plots/*", "report.html", "cost.json", "run.log", "system.jsonl"]
OF_A_SWEEP = ["sweep.json", "jobs.json"]  # sent whenever it has ended: of the same size, they may say something else
STILLS = "overlay"  # MLflow's name of the series of images


def send_artifacts(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """Upload what is not there yet; a file of another size was cut off, or has grown since."""
    run_id = mlflow_run.info.run_id
    files = client.list_artifacts(run_id) + client.list_artifacts(run_id, "plots")
    sizes = {file.path: file.file_size for file in files}
    for path in sorted(path for pattern in ARTIFACTS + OF_A_SWEEP for path in run.folder.glob(pattern)):
        name = path.relative_to(run.folder)
        if sizes.get(name.as_posix()) != path.stat().st_size or path.name in OF_A_SWEEP:
            client.log_artifact(run_id, str(path), None if name.parent == Path() else name.parent.as_posix())


def send_stills(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """The report's stills, each at its step: the iteration; of pictures without an order, their number.

    MLflow stores an image as two files of a random name each. The smaller one is the last, so where it is there
    nothing is sent; a kill between the two leaves a picture that is sent again, and shown once.
    """
    note = run.folder / "stills" / "stills.json"
    stills = json.loads(note.read_text())["stills"] if note.is_file() else []
    stored = [file.path for file in client.list_artifacts(mlflow_run.info.run_id, "images")] if stills else []
    for number, still in enumerate(stills):
        step, path = still.get("step", number), run.folder / "stills" / still["file"]
        begin = f"images/{STILLS}+step+{step}+"
        if path.is_file() and not any(name.startswith(begin) and name.endswith(".webp") for name in stored):
            with Image.open(path) as image:
                client.log_image(
                    mlflow_run.info.run_id,
                    image.convert("RGB"),
                    key=STILLS,
                    step=step,
                    timestamp=run.milliseconds({}),
                    synchronous=True,
                )
