"""Reading runs from their folders as `mlflow_store` reads them from MLflow: for tables where no MLflow has them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from odkd.common.metric_names import SUMMARY
from odkd.common.reading import brief, shown
from odkd.runs.mlflow_keys import keys_in_mlflow
from odkd.runs.mlflow_sending import PARAM_CHARACTERS, STATUSES, finite
from odkd.runs.mlflow_store import Store, StoredRun
from odkd.runs.records import read_lines
from odkd.runs.results import Run, read_run

logger = logging.getLogger(__name__)


class FolderStore:
    """The run folders of an outputs folder, with the methods and the names of keys of an MLflow store."""

    def __init__(self, outputs: Path) -> None:
        self._folders = sorted(path.parent for path in (outputs / "runs").glob("*/run.json"))

    def runs(self, experiment: str | None = None) -> list[StoredRun]:
        """Return all runs, newest first; a damaged one, or one that cannot be read, is left out with a warning.

        Raises:
            ValueError: an experiment is asked for, and folders know none.
        """
        if experiment is not None:
            raise ValueError(f"--experiment {experiment}: run folders have no experiments, as MLflow has; leave it out")
        found = []
        for folder in self._folders:
            try:
                found.append(_stored_run(read_run(folder)))
            except (ValueError, OSError) as error:
                logger.warning("the run in %s is left out: %s", shown(folder), brief(error))
        return sorted(found, key=lambda run: run.started, reverse=True)

    def history(self, run: StoredRun, metric: str) -> dict[int, float]:
        """Return all values of a metric by step (iteration or epoch); steps where it is undefined are missing."""
        lines = read_run(Path(run.run_id)).metrics
        return {line["iteration"]: found[metric] for line in lines if metric in (found := finite(line["metrics"]))}

    def lines(self, run: StoredRun) -> list[dict[str, Any]]:
        """Return the lines of the run's metrics.jsonl, one for each iteration."""
        return read_lines(Path(run.run_id) / "metrics.jsonl")


AnyStore = Store | FolderStore


def _stored_run(run: Run) -> StoredRun:
    metrics: dict[str, float] = {}
    for line in run.metrics:
        metrics |= finite(line["metrics"])
    metrics |= finite({f"{SUMMARY}{key}": value for key, value in run.summary.items()})
    keys = keys_in_mlflow(run.params)
    params = {keys[key]: value[:PARAM_CHARACTERS] for key, value in run.params.items()}
    tags = run.tags | {"odkd.stage": run.stage, "odkd.run_folder": str(run.folder.resolve()), "odkd.run_key": run.key}
    return StoredRun(str(run.folder), run.title, STATUSES[run.status], run.milliseconds({}), params, tags, metrics)
