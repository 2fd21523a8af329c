"""The MLflow run that a run folder is copied to: its id, noted in mlflow.json; find it again, or create it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from odkd.common.files import as_written, write_json
from odkd.runs.mlflow_client import LOCK_SECONDS, without_password
from odkd.runs.mlflow_view import write_view
from odkd.runs.records import read_mlflow_note
from odkd.runs.results import Run, read_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

PARENT = "mlflow.parentRunId"


def known_run_id(run_folder: Path, uri: str, experiment: str) -> str | None:
    """Return the run id in mlflow.json if it is for this URI and experiment; else note these there for `odkd-sync`."""
    place = {"tracking_uri": without_password(uri), "experiment": experiment}
    known = read_mlflow_note(run_folder)
    if not place.items() <= known.items():
        known = place | {"experiment_id": None, "run_id": None}
        write_json(run_folder / "mlflow.json", known)
    run_id: str | None = known.get("run_id")
    return run_id


def open_run(client: MlflowClient, run: Run, uri: str, experiment: str, known: str | None) -> MlflowRun:
    """Return the MLflow run of this folder: the known one, else one with its key and creation time, else a new one.

    Raises:
        ValueError: the run or the experiment was deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    identity = {"odkd.run_key": run.key, "odkd.created": run.created.isoformat()}
    path = run.folder / "mlflow.json"
    if known is not None:
        try:
            found = client.get_run(known)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            if found.info.lifecycle_stage == "deleted":
                raise ValueError(f"this run was deleted in MLflow; restore it there, or remove {path} to log it again")
            if identity.items() <= found.data.tags.items():  # otherwise the run has been started over
                return found
    experiment_id = _open_experiment(client, run, uri, experiment)
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    matches = client.search_runs([experiment_id], filter_string=query)
    opened = matches[0] if matches else client.create_run(experiment_id, run.milliseconds({}), identity, run.title)
    ids = {"experiment_id": experiment_id, "run_id": opened.info.run_id}
    write_json(path, {"tracking_uri": without_password(uri), "experiment": experiment} | ids)
    return opened


def _open_experiment(client: MlflowClient, run: Run, uri: str, experiment: str) -> str:
    """Return the id of the experiment, which is created if it is missing."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        # A server knows where its artifacts go; with a database they would go below the current folder.
        folder = as_written(run.folder).parents[1] / "mlartifacts"
        try:
            client.create_experiment(experiment, None if uri.startswith("http") else folder.as_uri())
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return _open_experiment(client, run, uri, experiment)  # created here, or by another process
    if found.lifecycle_stage == "deleted":
        raise ValueError(f"tracking.experiment={experiment} was deleted in MLflow; restore it or use another")
    write_view(client, found, uri)
    return str(found.experiment_id)


def parent_tag(client: MlflowClient, run: Run, uri: str, experiment: str) -> dict[str, str]:
    """Return the tag that makes a run a child of its sweep's run; empty if the sweep's folder is gone.

    The run stays a child of the sweep that computed it, even if later sweeps ask for it too.
    """
    outputs = as_written(run.folder).parents[1]
    folder = as_written(outputs / str(run.sweep))
    if not folder.is_relative_to(outputs):  # a run of somebody else may name any folder
        return {}
    if not folder.is_dir():
        folder = outputs  # the folder of a job that failed before it had a run
    if not (folder / "sweep.json").is_file():
        return {}
    known = known_run_id(folder, uri, experiment)
    if known is None:  # MLflow was not reached when the sweep began; the first job that gets here creates the parent
        with FileLock(folder / "mlflow.lock", timeout=LOCK_SECONDS):
            known = known_run_id(folder, uri, experiment)
            known = open_run(client, read_run(folder), uri, experiment, known).info.run_id
    return {PARENT: str(known)}
