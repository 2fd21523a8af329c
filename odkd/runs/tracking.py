"""The only writer to MLflow: repeats what a run folder says, as often as needed, without saying it twice.

The run folder is the truth and MLflow a copy of it, so one pass of `sync` may be killed at any instant and
done again. Two things make that harmless. A row (key, step, timestamp, value) is made from the folder alone:
sent a second time it is the identical row, which MLflow's store drops. And the tag `odkd.synced_iteration`,
written after an iteration's rows, says where to go on, so that little is sent a second time.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from odkd.common.files import as_written, write_json
from odkd.common.metric_names import SUMMARY
from odkd.runs.results import Run, import_mlflow, mlflow_client, read_run
from odkd.runs.uploads import send_artifacts, send_stills, state_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as MlflowRun

PARENT = "mlflow.parentRunId"
STATUSES = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "pruned": "KILLED"}
METRICS_PER_BATCH = 1000  # MLflow's limit
PARAMS_PER_BATCH = 50  # MLflow's limits: 100, and 1 MB a request
PARAM_CHARACTERS, TAG_CHARACTERS, KEY_CHARACTERS = 6000, 8000, 250  # MLflow's limits
DIGEST_CHARACTERS = 36  # MLflow's limit
LOCK_SECONDS = 60.0


def sync(run_folder: Path, *, uri: str, experiment: str, artifacts: bool) -> int:
    """Bring MLflow up to date with a run folder: one pass, to be repeated at will.

    Creates the run or finds it again, then sends params, tags, every published iteration that MLflow lacks,
    and once the run has ended its summary, its files (if `artifacts`) and its status.
    Returns the number of iterations sent.

    Raises:
        ValueError: this is no run folder, or its run or experiment was deleted in MLflow.
        filelock.Timeout: another process has been sending this folder for a minute.
        Exception: whatever MLflow raises when it is not reached; nothing is lost, call again.
    """
    with FileLock(run_folder / "mlflow.lock", timeout=LOCK_SECONDS):
        state = state_of(run_folder) if artifacts and (run_folder / "run.json").is_file() else None
        run = read_run(run_folder)
        known_run_id = _known_run_id(run_folder, uri, experiment)
        client = _connect(uri)
        mlflow_run = _open_run(client, run, uri, experiment, known_run_id)
        _send_params_and_tags(client, run, mlflow_run, uri, experiment)
        _send_dataset(client, run, mlflow_run)
        num_sent = _send_lines(client, run, mlflow_run, run.metrics, "iteration")
        _send_lines(client, run, mlflow_run, run.system, "sample")
        if run.status != "running":
            _send_summary(client, run, mlflow_run)
        try:
            if run.status != "running" and artifacts:
                send_artifacts(client, run, mlflow_run)
                send_stills(client, run, mlflow_run)
        finally:  # a full or forbidden artifact store is no reason to leave the run "RUNNING"
            _send_status(client, run, mlflow_run)
        if run.status != "running" and artifacts:
            note = json.loads((run_folder / "mlflow.json").read_text())
            write_json(run_folder / "mlflow.json", note | {"complete": state})
        return num_sent


def forget(folder: Path, *, uri: str, experiment: str) -> None:
    """Delete a folder's run in MLflow, as its bin keeps it; nothing if MLflow has none.

    Raises:
        Exception: whatever MLflow raises when it is not reached.
    """
    run_id = _known_run_id(folder, uri, experiment)
    if run_id is not None:
        _connect(uri).delete_run(run_id)


def is_complete(run_folder: Path, *, uri: str, experiment: str) -> bool:
    """Whether MLflow has all of a run that ended, as far as the folder knows; asks no server."""
    path = run_folder / "mlflow.json"
    note = json.loads(path.read_text()) if path.is_file() else {}
    place = {"tracking_uri": without_password(uri), "experiment": experiment}
    return place.items() <= note.items() and note.get("complete") == state_of(run_folder)


def without_password(uri: str) -> str:
    """The URI without user and password, fit to be stored and shown."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _connect(uri: str) -> MlflowClient:
    """A client for `uri`; a SQLite file is made if it is not there."""
    if uri.startswith("sqlite:///"):
        import_mlflow()
        _make_database(Path(uri.removeprefix("sqlite:///")))
    return mlflow_client(uri)


def _make_database(database: Path) -> None:
    """A new database gets its tables under another name, so that a kill or a full disk leaves none half made."""
    from mlflow.store.tracking import sqlalchemy_store

    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=LOCK_SECONDS):  # of the processes that open it at once, one makes it
        if database.is_file() and database.stat().st_size > 0:
            return
        unfinished = database.with_name(f".{database.name}.new")
        for path in database.parent.glob(f"{unfinished.name}*"):  # of a process that was killed, its journal too
            path.unlink()
        make_store: Any = sqlalchemy_store.SqlAlchemyStore
        make_store(f"sqlite:///{unfinished}", (database.parent / "mlartifacts").absolute().as_uri()).engine.dispose()
        unfinished.replace(database)


def _known_run_id(run_folder: Path, uri: str, experiment: str) -> str | None:
    """The id in mlflow.json, if it is one for this place; if not, note the place there for `odkd-sync`."""
    place = {"tracking_uri": without_password(uri), "experiment": experiment}
    path = run_folder / "mlflow.json"
    known: dict[str, str | None] = json.loads(path.read_text()) if path.is_file() else {}
    if not place.items() <= known.items():
        known = place | {"experiment_id": None, "run_id": None}
        write_json(path, known)
    return known["run_id"]


def _open_run(client: MlflowClient, run: Run, uri: str, experiment: str, known: str | None) -> MlflowRun:
    """The MLflow run of this folder: the known one, else one of the same key and birth, else a new one."""
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
                raise ValueError(f"deleted in MLflow; restore it there, or remove {path} to log it anew")
            if identity.items() <= found.data.tags.items():  # else the run was started over since
                return found
    experiment_id = _open_experiment(client, run, uri, experiment)
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    matches = client.search_runs([experiment_id], filter_string=query)
    opened = matches[0] if matches else client.create_run(experiment_id, run.milliseconds({}), identity, run.title)
    ids = {"experiment_id": experiment_id, "run_id": opened.info.run_id}
    write_json(path, {"tracking_uri": without_password(uri), "experiment": experiment} | ids)
    return opened


def _open_experiment(client: MlflowClient, run: Run, uri: str, experiment: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(experiment)
    if found is None:
        # A server knows where its artifacts go; a database would put them below the current folder.
        folder = as_written(run.folder).parents[1] / "mlartifacts"
        try:
            return client.create_experiment(experiment, None if uri.startswith("http") else folder.as_uri())
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return _open_experiment(client, run, uri, experiment)  # another process was first
    if found.lifecycle_stage == "deleted":
        raise ValueError(f"tracking.experiment={experiment} was deleted in MLflow; restore it or use another")
    return str(found.experiment_id)


def _parent(client: MlflowClient, run: Run, uri: str, experiment: str) -> dict[str, str]:
    """The tag that puts a run below its sweep's; nothing if the sweep is gone.

    The run stays below the sweep that computed it, whichever others ask for it later.
    """
    folder = as_written(run.folder).parents[1] / str(run.sweep)
    if not folder.is_dir():
        folder = as_written(run.folder).parents[1]  # of a job that failed before it had a run
    if not (folder / "sweep.json").is_file():
        return {}
    known = _known_run_id(folder, uri, experiment)
    if known is None:  # MLflow was not there when the sweep began: of all who find that out, one makes the run
        with FileLock(folder / "mlflow.lock", timeout=LOCK_SECONDS):
            known = _known_run_id(folder, uri, experiment)
            known = _open_run(client, read_run(folder), uri, experiment, known).info.run_id
    return {PARENT: str(known)}


def _send_params_and_tags(client: MlflowClient, run: Run, mlflow_run: MlflowRun, uri: str, experiment: str) -> None:
    from mlflow.entities import Param, RunTag

    known = mlflow_run.data.params
    params = {_key(key): str(value)[:PARAM_CHARACTERS] for key, value in run.params.items()}
    tags = {"odkd.stage": run.stage, "odkd.run_folder": str(run.folder.resolve())} | run.tags
    tags |= _source(run)
    if run.error or "odkd.error" in mlflow_run.data.tags:  # it may have been mended since
        tags["odkd.error"] = run.error
    if "odkd.pruned" in mlflow_run.data.tags:  # it may have gone on since
        tags = {"odkd.pruned": ""} | tags
    if run.sweep is not None and PARENT not in mlflow_run.data.tags:
        tags |= _parent(client, run, uri, experiment)
    changed = [key for key, value in params.items() if known.get(key, value) != value]
    if changed:  # MLflow's params cannot change; a resumed run may be on another device
        tags["odkd.changed_params"] = "\n".join(f"{key}: {known[key]} -> {params[key]}" for key in changed)
    tags = {_key(key): str(value)[:TAG_CHARACTERS] for key, value in tags.items()}
    new_params = [Param(key, value) for key, value in params.items() if key not in known]
    new_tags = [RunTag(key, value) for key, value in tags.items() if mlflow_run.data.tags.get(key) != value]
    for first in range(0, max(len(new_params), len(new_tags)), PARAMS_PER_BATCH):
        part = slice(first, first + PARAMS_PER_BATCH)
        client.log_batch(mlflow_run.info.run_id, params=new_params[part], tags=new_tags[part])


def _source(run: Run) -> dict[str, str]:
    """Tags for MLflow's column Source: with the commit of the folder where odkd was started, else of odkd itself."""
    commits = [run.tags[key].partition(" ")[0] for key in ("odkd.git.folder", "odkd.git.source") if key in run.tags]
    tags = {"mlflow.source.name": "odkd", "mlflow.source.type": "LOCAL"}
    return tags | ({"mlflow.source.git.commit": commits[0]} if commits else {})


def _send_dataset(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """For MLflow's column Dataset, and to filter by it: the name, and the digest of what is in it."""
    from mlflow.entities import Dataset, DatasetInput
    from mlflow.exceptions import MlflowException

    digest = run.tags.get("odkd.dataset_digest", "")[:DIGEST_CHARACTERS]
    is_there = mlflow_run.inputs is not None and bool(mlflow_run.inputs.dataset_inputs)
    if digest and not is_there:
        dataset = Dataset(run.params.get("dataset.name", "dataset"), digest, "local", json.dumps({"uri": ""}))
        try:
            client.log_inputs(mlflow_run.info.run_id, [DatasetInput(dataset)])
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            client.log_inputs(mlflow_run.info.run_id, [DatasetInput(dataset)])  # another run was first to make it


def _send_lines(
    client: MlflowClient, run: Run, mlflow_run: MlflowRun, lines: Sequence[dict[str, Any]], number: str
) -> int:
    """Whole iterations (or samples of the machine) in order, as many in a batch as fit; the tag
    `odkd.synced_iteration` (or `_sample`) says how far we are. Returns how many were sent.

    The tag is a request of its own, made when the rows are known to be there: MLflow's client cuts a batch of
    1000 rows and a tag in two, and sends the tag with the first.
    """
    tag = f"odkd.synced_{number}"
    last_known = int(mlflow_run.data.tags.get(tag, -1))
    missing = [line for line in lines if line[number] > last_known]
    batch: list[Metric] = []
    for index, line in enumerate(missing):
        batch += _rows(line["metrics"], line[number], run.milliseconds(line))
        num_next = len(missing[index + 1]["metrics"]) if index + 1 < len(missing) else math.inf
        if len(batch) + num_next > METRICS_PER_BATCH:
            _send_rows(client, mlflow_run, batch)
            client.set_tag(mlflow_run.info.run_id, tag, line[number])
            batch = []
    return len(missing)


def _send_rows(client: MlflowClient, mlflow_run: MlflowRun, rows: list[Metric]) -> None:
    for first in range(0, len(rows), METRICS_PER_BATCH):  # more than one only for very many classes
        client.log_batch(mlflow_run.info.run_id, metrics=rows[first : first + METRICS_PER_BATCH])


def _send_summary(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    summary = {f"{SUMMARY}{key}": value for key, value in run.summary.items()}
    new = {key: value for key, value in summary.items() if _key(key) not in mlflow_run.data.metrics}
    _send_rows(client, mlflow_run, _rows(new, 0, run.last_milliseconds))


def _send_status(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    status = STATUSES[run.status]
    if mlflow_run.info.status == status:
        return
    if run.status == "running":
        client.update_run(mlflow_run.info.run_id, status=status)
    else:
        client.set_terminated(mlflow_run.info.run_id, status=status, end_time=run.ended_milliseconds)


def _rows(metrics: Mapping[str, float | None], step: int, timestamp: int) -> list[Metric]:
    from mlflow.entities import Metric

    values = {_key(key): math.nan if value is None else float(value) for key, value in metrics.items()}
    return [Metric(key, value, timestamp, step) for key, value in values.items() if math.isfinite(value)]


def _key(key: str) -> str:
    """A key that MLflow accepts: class names may hold anything."""
    return posixpath.normpath(re.sub(r"[^\w.\- :/]", "_", key))[:KEY_CHARACTERS]
