"""An MLflow store with runs that were never computed: params and final metrics as odkd writes them, in milliseconds."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from odkd.compose import complete, compose_config
from odkd.dotted import flatten
from odkd.results import mlflow_client


class FabricatedStore:
    """A SQLite store below `outputs`; `add` writes one run of the settings that a command would have."""

    def __init__(self, outputs: Path) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self.uri = f"sqlite:///{(outputs / 'mlflow.db').resolve()}"
        shutil.copy(_empty_database(), outputs / "mlflow.db")
        self.client = mlflow_client(self.uri)
        self.experiment_id = self.client.create_experiment("odkd", (outputs / "mlartifacts").resolve().as_uri())
        self.num_runs = 0

    def add(
        self,
        overrides: Sequence[str],
        metrics: Mapping[str, float],
        *,
        status: str = "FINISHED",
        tags: Mapping[str, str] | None = None,
        is_curated: bool = False,
        history: Mapping[str, Mapping[int, float]] | None = None,
        config_dir: str | None = None,
    ) -> str:
        """Returns MLflow's id; `is_curated`: only the params that differ from the defaults, and key fields."""
        from mlflow.entities import Metric, Param, RunTag

        params = params_of(overrides, config_dir)
        if is_curated:
            default = params_of([])
            kept = {key: value for key, value in params.items() if default.get(key) != value}
            dropped = ("paths.", "tracking.", "dataset.palette", "dataset.classes", "dataset.prepare.folder")
            params = {k: v for k, v in kept.items() if not k.startswith(dropped)} | {"seed": params["seed"]}
            params |= {"replay": "fifo", "loss": "cross_entropy", "baseline": "None"}
        self.num_runs += 1
        own = {"odkd.run_key": f"key{self.num_runs}", "mlflow.runName": f"run {self.num_runs}"} | dict(tags or {})
        run = self.client.create_run(self.experiment_id, self.num_runs, own, own["mlflow.runName"])
        rows = [Metric(key, value, self.num_runs, 0) for key, value in metrics.items()]
        rows += [Metric(k, v, step, step) for k, values in (history or {}).items() for step, v in values.items()]
        items = [Param(key.replace("*", "_"), value[:6000]) for key, value in params.items()]
        for first in range(0, max(len(items), 1), 100):
            self.client.log_batch(run.info.run_id, params=items[first : first + 100])
        self.client.log_batch(run.info.run_id, metrics=rows, tags=[RunTag("odkd.kind", own.get("odkd.kind", "run"))])
        self.client.set_terminated(run.info.run_id, status=status)
        return str(run.info.run_id)


@functools.cache
def _empty_database() -> Path:
    """A database with MLflow's tables, to be copied: making them takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="odkd-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    mlflow_client(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@functools.cache
def _composed(overrides: tuple[str, ...], config_dir: str | None = None) -> dict[str, str]:
    container: Any = OmegaConf.to_container(complete(compose_config(list(overrides), config_dir)), resolve=True)
    return flatten(container)


def params_of(overrides: Sequence[str], config_dir: str | None = None) -> dict[str, str]:
    settings = tuple(override for override in overrides if not override.startswith("seed="))
    given = {o.partition("=")[0]: o.partition("=")[2] for o in overrides if o not in settings}
    found = _composed(settings, config_dir) | given
    return {key: value for key, value in found.items() if not key.startswith(("paths.", "tracking."))}
