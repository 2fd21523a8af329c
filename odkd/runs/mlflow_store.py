"""Reading runs back from MLflow; `odkd.runs.results` reads them from their folders."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odkd.common.metric_names import SUMMARY
from odkd.common.reading import DamagedFileError, brief
from odkd.common.renamed import CLASS_TAG, current_metrics, current_params, current_stored_names
from odkd.runs.mlflow_client import check_mlflow, mlflow_client
from odkd.runs.records import read_lines

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredRun:
    """A run as stored in MLflow: params as text, the last value of each metric, tags.

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
        """The run key, the same wherever the run is stored; MLflow's id for a run without a key."""
        return self.tags.get("odkd.run_key") or self.run_id

    def final(self, name: str) -> float | None:
        """Return the final metric that summary.json calls `name`; None if it is undefined or missing."""
        return self.metrics.get(f"{SUMMARY}{name}", self.metrics.get(name))


class NothingStoredError(ValueError):
    """The store or experiment does not exist: nothing has been logged to it yet."""


class StoreError(Exception):
    """MLflow does not answer, or gives an unexpected answer; the cause is the error of MLflow's client."""


class Store:
    """An MLflow store, for reading only.

    Raises:
        ValueError: MLflow's library is not installed.
        NothingStoredError: `uri` names a SQLite file that does not exist.
        StoreError: the store cannot be read; `runs` and `history` raise it too.
    """

    def __init__(self, uri: str) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        if uri.startswith("sqlite:///") and not path.is_file():
            raise NothingStoredError(
                f"there is no MLflow store {path}; the first run creates it, or name another one with --uri"
            )
        check_mlflow(uri, "reading runs from MLflow")
        self.uri = uri
        with _store_errors():
            self.client = mlflow_client(uri)

    def runs(self, experiment: str | None = None) -> list[StoredRun]:
        """Return all runs of odkd (of one experiment, or of all), newest first, without the parent runs of sweeps.

        Raises:
            NothingStoredError: the experiment does not exist.
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
        """Return all values of a metric by step (iteration or epoch); steps where it is undefined are missing."""
        with _store_errors():
            found = self.client.get_metric_history(run.run_id, run.stored_names.get(metric, metric))
        return {row.step: row.value for row in sorted(found, key=lambda row: (row.step, row.timestamp))}

    def lines(self, run: StoredRun) -> list[dict[str, Any]]:
        """Return the lines of the run's artifact metrics.jsonl, one for each iteration; empty without a sound file.

        The lines have the form that `read_lines` returns.
        """
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as folder:
            try:
                lines = read_lines(Path(self.client.download_artifacts(run.run_id, "metrics.jsonl", folder)))
            except (MlflowException, OSError):
                return []
            except DamagedFileError as error:
                logger.warning("the lines of the run %s are left out: %s", run.name, brief(error))
                return []
        stage = run.tags.get("odkd.stage", "")
        return [line | {"metrics": current_metrics(line["metrics"], stage)} for line in lines]


def _stored_run(run: Any) -> StoredRun:
    """Convert a run of MLflow's client; its params and metrics get their current names."""
    info, data = run.info, run.data
    names = current_stored_names(list(data.metrics), data.tags.get("odkd.stage", ""))
    classes = {key.removeprefix(CLASS_TAG): name for key, name in data.tags.items() if key.startswith(CLASS_TAG)}
    tags = {key: value for key, value in data.tags.items() if not key.startswith(CLASS_TAG)}
    return StoredRun(
        *(info.run_id, info.run_name, info.status, info.start_time, current_params({**data.params, **classes}), tags),
        *({name: data.metrics[stored] for name, stored in names.items()}, names),
    )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Turn any error of a client (MLflow's own, a database's, a connection's) into StoreError."""
    try:
        yield
    except Exception as error:
        raise StoreError(str(error)) from error
