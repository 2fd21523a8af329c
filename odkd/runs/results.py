"""Reading results back: the only reader of finished and unfinished runs, from their folders and from MLflow."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.common.metric_names import SUMMARY
from odkd.common.renamed import current_metrics, current_params, current_stored_names

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Run:
    """What a run folder says, at the moment it was read.

    `metrics` has one dictionary an iteration, in order: the line of metrics.jsonl with the line of
    timing.jsonl merged in, so "metrics" holds all values by key (None = undefined) and "time" is when
    the iteration was published, in seconds since 1970 (absent if the timing line is lost).
    `summary` is empty until the run has finished.
    """

    folder: Path
    key: str
    name: str
    stage: str
    status: str
    created: datetime
    title: str  # what people are shown: in a sweep, what differs; else the name
    updated: float | None  # when the status was set last, seconds since 1970
    sweep: str | None  # folder of the sweep that it belongs to, relative to the outputs
    error: str  # last line of what ended it; "" if nothing did
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[dict[str, Any]]
    summary: dict[str, float | None]
    system: list[dict[str, Any]] = field(default_factory=list)  # samples of the machine, if they were asked for

    def milliseconds(self, line: Mapping[str, Any]) -> int:
        """When a line of `metrics` or `system` was published, since 1970; the run's beginning if that is not known."""
        seconds: float = line.get("time", self.created.timestamp())
        return round(seconds * 1000)

    @property
    def last_milliseconds(self) -> int:
        return self.milliseconds(self.metrics[-1] if self.metrics else {})

    @property
    def ended_milliseconds(self) -> int:
        """When it ended, since 1970; of a run that still goes on, when it was last heard of."""
        return max(self.last_milliseconds, round(1000 * (self.updated or 0)))


def status_of(folder: Path) -> str | None:
    """running, finished, failed, killed or pruned; None where there is no run."""
    try:
        status: str = json.loads((folder / "run.json").read_text())["status"]
    except FileNotFoundError:
        return None
    return status


def read_run(folder: Path) -> Run:
    """Read a run folder, also while another process writes to it.

    The status is read before the metrics: of a run that is not "running", nothing is missing. Metrics
    are read before timings, because a timing line is published before its metrics line.

    Raises:
        ValueError: `folder` is no run folder.
    """
    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder} has no run.json; expected a run folder, such as outputs/runs/NAME-KEY")
    record = json.loads((folder / "run.json").read_text())
    lines = read_lines(folder / "metrics.jsonl")
    # An iteration cut off between its two lines was done again: the later timing line belongs to its metrics.
    timings = {line["iteration"]: line for line in read_lines(folder / "timing.jsonl")}
    for line in lines:
        timing = timings.get(line["iteration"])
        if timing is not None:
            line["time"] = timing["time"]
            line["metrics"] = line["metrics"] | timing["metrics"]
    stage = record["stage"]
    for line in lines:
        line["metrics"] = current_metrics(line["metrics"], stage)
    summary, error = folder / "summary.json", folder / "error.txt"
    return Run(
        folder=folder,
        key=record["key"],
        name=record["name"],
        stage=stage,
        status=record["status"],
        created=datetime.fromisoformat(record["created"]),
        title=record.get("title") or record["name"],
        updated=record.get("updated"),
        sweep=(record.get("sweep") or {}).get("folder"),
        error=error.read_text().strip().rpartition("\n")[2] if error.is_file() else "",
        params=current_params(record["params"]),
        tags=record["tags"],
        metrics=lines,
        system=read_lines(folder / "system.jsonl"),
        summary=current_metrics(json.loads(summary.read_text()), stage) if summary.is_file() else {},
    )


def cost_of(folder: Path) -> dict[str, Any]:
    """cost.json, see `odkd.runs.cost`; empty where there is none yet."""
    path = folder / "cost.json"
    cost: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return cost


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a JSON-lines file, in order; a last line without its newline is still being written."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


@dataclass(frozen=True)
class StoredRun:
    """A run as MLflow has it: params as text, the last value of each metric, tags.

    `started` is in milliseconds since 1970; `status` is MLflow's: RUNNING, FINISHED, FAILED, KILLED.
    """

    run_id: str
    name: str
    status: str
    started: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    stored_names: dict[str, str] = field(default_factory=dict)  # metric -> its name in the store

    @property
    def key(self) -> str:
        """The run key, the same wherever the run is stored; MLflow's id for a run that has none."""
        return self.tags.get("odkd.run_key") or self.run_id

    def final(self, name: str) -> float | None:
        """The final metric that summary.json calls `name`; None if it is undefined or there is none."""
        return self.metrics.get(f"{SUMMARY}{name}", self.metrics.get(name))


class NothingStoredError(ValueError):
    """There is no such store or experiment: nothing has been logged there yet."""


class StoreError(Exception):
    """MLflow does not answer, or not as a store does; its cause is what MLflow's client raised."""


class Store:
    """What an MLflow store holds, for reading only.

    Raises:
        NothingStoredError: `uri` names a SQLite file that is not there.
        StoreError: the store cannot be read; so say `runs` and `history` too.
    """

    def __init__(self, uri: str) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        if uri.startswith("sqlite:///") and not path.is_file():
            raise NothingStoredError(
                f"there is no MLflow store {path}; it is made by the first run, or name another with --uri"
            )
        self.uri = uri
        with _store_errors():
            self.client = mlflow_client(uri)

    def runs(self, experiment: str | None = None) -> list[StoredRun]:
        """All runs of odkd (of one experiment, or of all), newest first; sweeps' parent runs are not among them.

        Raises:
            NothingStoredError: there is no such experiment.
        """
        with _store_errors():
            experiments = [e for e in self.client.search_experiments() if experiment in (None, e.name)]
        if experiment is not None and not experiments:
            raise NothingStoredError(f"there is no experiment {experiment} in {self.uri}")
        found: list[StoredRun] = []
        token: str | None = None
        while experiments:
            with _store_errors():
                page = self.client.search_runs(
                    [e.experiment_id for e in experiments],
                    filter_string="tags.`odkd.run_key` != ''",
                    max_results=1000,
                    order_by=["attributes.start_time DESC"],
                    page_token=token,
                )
            found += map(_stored_run, page)
            token = page.token
            if not token:
                break
        return [run for run in found if run.tags.get("odkd.kind", "run") == "run"]

    def history(self, run: StoredRun, metric: str) -> dict[int, float]:
        """All values of a metric by step (iteration, or epoch); steps at which it is undefined are not there."""
        with _store_errors():
            found = self.client.get_metric_history(run.run_id, run.stored_names.get(metric, metric))
        return {row.step: row.value for row in sorted(found, key=lambda row: (row.step, row.timestamp))}

    def lines(self, run: StoredRun) -> list[dict[str, Any]]:
        """The run's metrics.jsonl, from MLflow's artifacts: one dictionary an iteration; empty if it is not there."""
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as folder:
            try:
                lines = read_lines(Path(self.client.download_artifacts(run.run_id, "metrics.jsonl", folder)))
            except (MlflowException, OSError):
                return []
        stage = run.tags.get("odkd.stage", "")
        return [line | {"metrics": current_metrics(line["metrics"], stage)} for line in lines]


def _stored_run(run: Any) -> StoredRun:
    """Return a run of MLflow's client with the names of today."""
    info, data = run.info, run.data
    names = current_stored_names(list(data.metrics), data.tags.get("odkd.stage", ""))
    return StoredRun(
        *(info.run_id, info.run_name, info.status, info.start_time, current_params(data.params), data.tags),
        *({name: data.metrics[stored] for name, stored in names.items()}, names),
    )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Whatever a client raises (its own errors, a database's, a connection's) as one that callers can tell."""
    try:
        yield
    except Exception as error:
        raise StoreError(str(error)) from error


def mlflow_client(uri: str) -> MlflowClient:
    """A client that keeps quiet and gives up soon; touches no global tracking URI."""
    client: MlflowClient = import_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client


_importing = threading.Lock()


def import_mlflow() -> Any:
    """The library, keeping quiet."""
    with _importing:  # of the threads that ask at once, one imports
        mlflow = _import_mlflow()
    warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy)\b")  # not the user's to mend
    return mlflow


@functools.cache
def _import_mlflow() -> Any:
    """Import mlflow with its telemetry off, its chatter silenced, and patient for a minute at most.

    Only mlflow's own defaults change: what the user has set in the environment wins, and the environment
    is left as it was.
    """
    silence = "mlflow" not in sys.modules and "MLFLOW_DISABLE_TELEMETRY" not in os.environ
    if silence:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # looked at while it is imported
    try:
        import mlflow
        from mlflow import environment_variables as settings
    finally:
        if silence:
            del os.environ["MLFLOW_DISABLE_TELEMETRY"]
    settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 0  # we come again; a create_run sent twice makes two
    settings.MLFLOW_HTTP_REQUEST_TIMEOUT.default = 60  # seconds; an upload's answer takes a while
    settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.default = False
    settings.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
    if not settings.MLFLOW_LOGGING_LEVEL.defined:
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
    return mlflow
