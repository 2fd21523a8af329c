"""Uploading the files of a run that has ended to MLflow; stills become images with a step slider."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from odkd.common.files import json_digest
from odkd.common.reading import read_text
from odkd.runs.own_files import own_files
from odkd.runs.records import stills_in

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from odkd.runs.results import Run

ARTIFACTS = ["config.yaml", "metrics.jsonl", "summary.json", "results.csv", "MODEL_CARD.md", "error.txt"]
ARTIFACTS += ["student.safetensors", "overlay.mp4", "plots/*", "report.html", "cost.json", "run.log", "system.jsonl"]
NOT_RESULTS = ["run.log"]  # may still be written to after a run's end
OF_A_SWEEP = ["sweep.json", "jobs.json"]  # sent at every end of a sweep: they may change without changing size
HAS_IMAGES = "mlflow.loggedImages"  # tag; MLflow looks for images only where it is set
FIRST_TAG = "odkd.stage"  # every run gets it in its first pass
STILLS = "overlay"  # name of the series of images in MLflow


def state_of(folder: Path) -> str:
    """Return a digest of a run that has ended, over run.json and the names and sizes of its files."""
    found = own_files(folder, [pattern for pattern in ARTIFACTS if pattern not in NOT_RESULTS])
    sizes = sorted([path.relative_to(folder).as_posix(), path.stat().st_size] for path in found)
    return json_digest([read_text(folder / "run.json"), sizes])


def send_artifacts(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """Upload the files that MLflow does not have; a file of another size was cut off, or has grown since."""
    sizes = _sizes(client, mlflow_run, "", "plots")
    for path in own_files(run.folder, ARTIFACTS + OF_A_SWEEP):
        name = path.relative_to(run.folder)
        if sizes.get(name.as_posix()) != path.stat().st_size or path.name in OF_A_SWEEP:
            folder = None if name.parent == Path() else name.parent.as_posix()
            client.log_artifact(mlflow_run.info.run_id, str(path), folder)


def send_stills(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """Upload the report's stills, each at its step: the iteration, or for images without an order their number.

    MLflow's own log_image gives its two files (the image, and a thumbnail too small to read) random names, so
    an upload repeated after a kill would appear twice. Here the names have the same form but depend on the run alone.
    """
    stills = named_stills(run)
    sizes = _sizes(client, mlflow_run, "images") if stills else {}
    run_id = mlflow_run.info.run_id
    for name, path in stills.items():
        for file in (f"{name}{path.suffix}", f"{name}+compressed{path.suffix}"):
            if sizes.get(f"images/{file}") != path.stat().st_size:
                with tempfile.TemporaryDirectory() as folder:
                    client.log_artifact(run_id, str(shutil.copy(path, Path(folder) / file)), "images")
    if stills and HAS_IMAGES not in mlflow_run.data.tags:
        client.set_tag(run_id, HAS_IMAGES, "True")


def named_stills(run: Run) -> dict[str, Path]:
    """Return the report's stills in the order of their steps: MLflow's name without suffix -> file."""
    end = f"timestamp+{run.milliseconds({})}+{uuid.uuid5(uuid.NAMESPACE_OID, run.key)}"
    return {f"{STILLS}+step+{step}+{end}": path for step, _, path in stills_in(run.folder)}


def shown_still(run: Run) -> str | None:
    """Return the path of the artifact with the last still; None if there is none."""
    stills = list(named_stills(run).items())
    return f"images/{stills[-1][0]}{stills[-1][1].suffix}" if stills else None


def _sizes(client: MlflowClient, mlflow_run: MlflowRun, *folders: str) -> dict[str, int | None]:
    """Return the size in bytes of each file in these folders of the MLflow run; a new one has none, and is not asked.

    `mlflow_run` is as it was when the pass began; tags are sent before the first file.
    """
    if FIRST_TAG not in mlflow_run.data.tags:
        return {}
    files = [file for folder in folders for file in client.list_artifacts(mlflow_run.info.run_id, folder or None)]
    return {file.path: file.file_size for file in files}
