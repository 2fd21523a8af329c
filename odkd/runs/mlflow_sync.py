"""Copying a run folder to MLflow, in passes that may be repeated: a second one changes nothing.

The run folder is authoritative and MLflow holds a copy, so a pass of `sync` may be killed at any time and
repeated. Two things make this safe. A row (key, step, timestamp, value) depends on the folder alone:
sent a second time it is identical, and MLflow's store drops it. And the tag `odkd.synced_iteration`,
written after an iteration's rows, says where to continue, so that little is sent twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock

from odkd.common.files import write_json
from odkd.runs.mlflow_client import LOCK_SECONDS, connect, without_password
from odkd.runs.mlflow_note import send_note
from odkd.runs.mlflow_run import PARENT, known_run_id, open_run, parent_tag
from odkd.runs.mlflow_sending import (
    is_sweep,
    send_dataset,
    send_lines,
    send_params_and_tags,
    send_status,
    send_summary,
)
from odkd.runs.mlflow_uploads import HAS_IMAGES, send_artifacts, send_stills, shown_still, state_of
from odkd.runs.records import read_mlflow_note
from odkd.runs.results import read_run


def sync(
    run_folder: Path, *, uri: str, experiment: str, artifacts: bool, sent: Mapping[str, int] = MappingProxyType({})
) -> int:
    """Bring MLflow up to date with a run folder, in one pass that may be repeated at any time.

    Creates the MLflow run or finds it again, then sends params, tags and every published iteration that MLflow does
    not have yet. Once the run has ended it also sends its summary, its files (if `artifacts`) and its status.
    `sent` are bytes at the start of files of lines that MLflow is known to have, as for `read_run`.

    Returns:
        The number of iterations sent.

    Raises:
        ValueError: `run_folder` is not a run folder, or its run or experiment was deleted in MLflow.
        filelock.Timeout: another process has been sending this folder for a minute.
        Exception: any error of MLflow if it cannot be reached; nothing is lost, call again.
    """
    with FileLock(run_folder / "mlflow.lock", timeout=LOCK_SECONDS):
        state = state_of(run_folder) if artifacts and (run_folder / "run.json").is_file() else None
        run = read_run(run_folder, sent)
        known = known_run_id(run_folder, uri, experiment)
        client = connect(uri)
        mlflow_run = open_run(client, run, uri, experiment, known)
        needs_parent = run.sweep is not None and PARENT not in mlflow_run.data.tags
        parent = parent_tag(client, run, uri, experiment) if needs_parent else {}
        send_params_and_tags(client, run, mlflow_run, parent)
        still = shown_still(run) if HAS_IMAGES in mlflow_run.data.tags else None
        send_dataset(client, run, mlflow_run)
        num_sent = send_lines(client, run, mlflow_run, run.metrics, "iteration")
        send_lines(client, run, mlflow_run, run.system, "sample")
        if run.status != "running" or is_sweep(run):
            send_summary(client, run, mlflow_run)
        try:
            if run.status != "running" and artifacts:
                send_artifacts(client, run, mlflow_run)
                send_stills(client, run, mlflow_run)
                still = shown_still(run)
        finally:  # also when the artifact store is full or read-only: the run must not stay "RUNNING"
            send_note(client, run, mlflow_run, still)
            send_status(client, run, mlflow_run)
        if run.status != "running" and artifacts:
            note = read_mlflow_note(run_folder)
            write_json(run_folder / "mlflow.json", note | {"complete": state})
        return num_sent


def forget(folder: Path, *, uri: str, experiment: str) -> None:
    """Delete the MLflow run of a folder (MLflow can restore it); do nothing if there is none.

    Raises:
        Exception: any error of MLflow if it cannot be reached.
    """
    run_id = known_run_id(folder, uri, experiment)
    if run_id is not None:
        connect(uri).delete_run(run_id)


def is_complete(run_folder: Path, *, uri: str, experiment: str) -> bool:
    """True if MLflow has all of a run that has ended, according to the folder; no server is asked."""
    note = read_mlflow_note(run_folder)
    place = {"tracking_uri": without_password(uri), "experiment": experiment}
    return place.items() <= note.items() and note.get("complete") == state_of(run_folder)
