"""Sending the content of a run folder to its MLflow run: params, tags, dataset, metrics, summary, status."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from odkd.common.metric_names import SUMMARY
from odkd.common.renamed import CLASS_TAG, current_stored_names, renamed_params
from odkd.runs.mlflow_keys import keys_in_mlflow
from odkd.runs.mlflow_note import NOTE
from odkd.runs.results import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as MlflowRun

STATUSES = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "pruned": "KILLED"}
METRICS_PER_BATCH = 1000  # MLflow's limit
ROWS_COMPARED = 100  # rows that MLflow 2 compares with known ones at a time: of a larger batch it refuses known rows
PARAMS_PER_BATCH = 50  # MLflow's limits are 100, and 1 MB for each request
PARAM_CHARACTERS, TAG_CHARACTERS = 6000, 8000  # MLflow's limits
DIGEST_CHARACTERS = 36  # MLflow's limit


def is_class(key: str) -> bool:
    """True if a param is the name of a class, which MLflow gets as a tag: the choice of the group says the same."""
    return key.rpartition(".")[2] == "_target_"


def send_params_and_tags(client: MlflowClient, run: Run, mlflow_run: MlflowRun, more_tags: Mapping[str, str]) -> None:
    """Send the params and tags that are new; `more_tags` are sent too."""
    from mlflow.entities import Param, RunTag

    known = renamed_params(mlflow_run.data.params)  # those of a run of before are not sent again by new names
    keys = keys_in_mlflow(run.params)
    params = {keys[key]: str(value)[:PARAM_CHARACTERS] for key, value in run.params.items() if not is_class(key)}
    tags = {"odkd.stage": run.stage, "odkd.run_folder": str(run.folder.resolve())} | run.tags
    tags.pop(NOTE, None)  # `send_note` sends it
    tags |= {f"{CLASS_TAG}{key}": value for key, value in run.params.items() if is_class(key)}
    tags |= _source(run)
    if run.error or "odkd.error" in mlflow_run.data.tags:  # the error may be fixed by now
        tags["odkd.error"] = run.error
    if "odkd.pruned" in mlflow_run.data.tags:  # a pruned run may have continued
        tags = {"odkd.pruned": ""} | tags
    tags |= more_tags
    changed = [key for key, value in params.items() if known.get(key, value) != value]
    if changed:  # params in MLflow cannot change, but a resumed run may use another device
        tags["odkd.changed_params"] = "\n".join(f"{key}: {known[key]} -> {params[key]}" for key in changed)
    keys = keys_in_mlflow(tags)
    tags = {keys[key]: str(value)[:TAG_CHARACTERS] for key, value in tags.items()}
    new_params = [Param(key, value) for key, value in params.items() if key not in known]
    new_tags = [RunTag(key, value) for key, value in tags.items() if mlflow_run.data.tags.get(key) != value]
    for first in range(0, max(len(new_params), len(new_tags)), PARAMS_PER_BATCH):
        part = slice(first, first + PARAMS_PER_BATCH)
        client.log_batch(mlflow_run.info.run_id, params=new_params[part], tags=new_tags[part])


def _source(run: Run) -> dict[str, str]:
    """Return the tags for MLflow's column Source.

    The commit is that of the folder where odkd was started, else that of odkd itself.
    """
    commits = [run.tags[key].partition(" ")[0] for key in ("odkd.git.folder", "odkd.git.source") if key in run.tags]
    tags = {"mlflow.source.name": "odkd", "mlflow.source.type": "LOCAL"}
    return tags | ({"mlflow.source.git.commit": commits[0]} if commits else {})


def send_dataset(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """Send the name and the content digest of the dataset, for MLflow's column Dataset and its filter."""
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
            client.log_inputs(mlflow_run.info.run_id, [DatasetInput(dataset)])  # another run created it meanwhile


def send_lines(
    client: MlflowClient, run: Run, mlflow_run: MlflowRun, lines: Sequence[dict[str, Any]], number: str
) -> int:
    """Send the lines that MLflow does not have yet, in order; each batch holds as many complete lines as fit.

    The tag `odkd.synced_iteration` (or `_sample`) holds the number of the last line sent. It is sent in a separate
    request after the rows: MLflow's client splits a batch of 1000 rows and a tag in two, and sends the tag first.

    Args:
        lines: iterations, or samples of the machine.
        number: key of a line's number: "iteration" or "sample".

    Returns:
        The number of lines sent.
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
    from mlflow.exceptions import MlflowException

    for batch in _parts(rows, METRICS_PER_BATCH):  # more than one batch only for very many classes
        try:
            client.log_batch(mlflow_run.info.run_id, metrics=batch)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            for part in _parts(batch, ROWS_COMPARED):
                client.log_batch(mlflow_run.info.run_id, metrics=part)


def _parts(rows: list[Metric], size: int) -> list[list[Metric]]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def send_summary(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """Send the final scores that are new, under `summary/`."""
    metrics = mlflow_run.data.metrics
    stored = current_stored_names(list(metrics), run.stage)  # also by names of earlier versions
    summary = {f"{SUMMARY}{key}": value for key, value in run.summary.items()}
    changes = is_sweep(run)  # its scores change from job to job: the latest row counts
    known = {key for key, name in stored.items() if not changes or metrics[name] == summary.get(key)}
    keys = keys_in_mlflow(summary)  # of all: a name's key depends on the others
    new = {keys[key]: value for key, value in summary.items() if keys[key] not in known}
    _send_rows(client, mlflow_run, _rows(new, 0, run.ended_milliseconds if changes else run.last_milliseconds))


def is_sweep(run: Run) -> bool:
    """True if the folder is that of a sweep, whose MLflow run is the parent of its jobs' runs."""
    return run.tags.get("odkd.kind") == "sweep"


def send_status(client: MlflowClient, run: Run, mlflow_run: MlflowRun) -> None:
    """Send the status if it has changed, with the end time of a run that has ended."""
    status = STATUSES[run.status]
    if mlflow_run.info.status == status:
        return
    if run.status == "running":
        client.update_run(mlflow_run.info.run_id, status=status)
    else:
        client.set_terminated(mlflow_run.info.run_id, status=status, end_time=run.ended_milliseconds)


def _rows(metrics: Mapping[str, float | None], step: int, timestamp: int) -> list[Metric]:
    """Return MLflow's rows for the metrics that are finite numbers."""
    from mlflow.entities import Metric

    return [Metric(key, value, timestamp, step) for key, value in finite(metrics).items()]


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that are finite numbers, by their keys in MLflow, in the order in which it shows them."""
    keys = keys_in_mlflow(metrics)
    ordered = sorted(metrics.items(), key=lambda item: _place(item[0]))
    values = {keys[key]: math.nan if value is None else float(value) for key, value in ordered}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def _place(key: str) -> int:
    """Return where a metric stands among those of a line: MLflow's pages show and compare the first ones first."""
    if re.search(r"(^|/)(test|val|total|final)/miou$", key):
        return 0
    return 2 if key.startswith(("stream/", "time/")) or key.endswith("/learning_rate") else 1
