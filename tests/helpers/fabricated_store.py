"""An MLflow store with fabricated runs: params and final metrics as odkd writes them, in milliseconds."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten
from odkd.common.metric_names import SUMMARY
from odkd.config.compose import complete, compose_config
from odkd.config.identity import digests_of_files
from odkd.config.params import GROUPS, curated_params
from odkd.runs.mlflow_client import mlflow_client


class FabricatedStore:
    """A SQLite store below `outputs`; `add` writes one run with the settings of a command."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
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
        """Write one run and return its id in MLflow.

        Args:
            metrics: Final scores.
            is_curated: Write curated params and digests of files, as runs do today; else all params, as they once did.
        """
        from mlflow.entities import Metric, Param, RunTag

        cfg = config_of(overrides, config_dir)
        params = full_params(cfg)
        if is_curated:
            given = dict(override.split("=", 1) for override in overrides)
            params = curated_params(cfg, {group: given.get(group, "none") for group in GROUPS})
            files = digests_of_files(OmegaConf.to_container(cfg, resolve=True), self.outputs / "cache")
            tags = {"odkd.file_digests": json.dumps(files), **(tags or {})} if files else tags
        self.num_runs += 1
        own = {"odkd.run_key": f"key{self.num_runs}", "mlflow.runName": f"run {self.num_runs}"} | dict(tags or {})
        run = self.client.create_run(self.experiment_id, self.num_runs, own, own["mlflow.runName"])
        rows = [Metric(f"{SUMMARY}{key}", value, self.num_runs, 0) for key, value in metrics.items()]
        rows += [Metric(k, v, step, step) for k, values in (history or {}).items() for step, v in values.items()]
        items = [Param(key.replace("*", "_"), value[:6000]) for key, value in params.items()]
        for first in range(0, max(len(items), 1), 100):
            self.client.log_batch(run.info.run_id, params=items[first : first + 100])
        self.client.log_batch(run.info.run_id, metrics=rows, tags=[RunTag("odkd.kind", own.get("odkd.kind", "run"))])
        self.client.set_terminated(run.info.run_id, status=status)
        return str(run.info.run_id)


@functools.cache
def _empty_database() -> Path:
    """Return a database with MLflow's tables, to be copied, because creating the tables takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="odkd-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    mlflow_client(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@functools.cache
def _composed(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig:
    return complete(compose_config(list(overrides), config_dir))


def config_of(overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """Return the config of a run, composed once for all seeds."""
    settings = tuple(override for override in overrides if not override.startswith("seed="))
    cfg = _composed(settings, config_dir).copy()
    cfg.seed = int(next((o.partition("=")[2] for o in overrides if o not in settings), 0))
    return cfg


def full_params(cfg: DictConfig) -> dict[str, str]:
    values = flatten(OmegaConf.to_container(cfg, resolve=True))
    return {key: value for key, value in values.items() if not key.startswith(("paths.", "tracking."))}
