"""Where tables and figures find their runs: an MLflow store, or the run folders where MLflow has none of them."""

import argparse
from pathlib import Path

from odkd.common.optional import is_installed
from odkd.report.tables.cells import Filled
from odkd.report.tables.filling import fill
from odkd.report.tables.spec import Table
from odkd.runs.folder_store import AnyStore, FolderStore
from odkd.runs.mlflow_client import without_password
from odkd.runs.mlflow_place import asked_uri
from odkd.runs.mlflow_store import NothingStoredError, Store


def look_up(table: Table, chosen: argparse.Namespace) -> tuple[Filled, AnyStore | None]:
    """Return the table filled from the chosen store, and the store.

    All runs are missing if the default store does not exist yet, or if --run or --missing will begin a new store.
    """
    uri, is_default = store_uri(chosen)
    is_begun_now = getattr(chosen, "run", False) or getattr(chosen, "missing", False)  # figures have no such options
    try:
        outputs = outputs_read(chosen)
        store: AnyStore = Store(uri) if outputs is None else FolderStore(outputs)
        runs = store.runs(chosen.experiment)
    except NothingStoredError:
        if not (is_begun_now or (is_default and not Path(uri.removeprefix("sqlite:///")).is_file())):
            raise
        return fill(table, [], lambda _run, _metric: {}), None
    return fill(table, runs, store.history, newest=chosen.newest), store


def outputs_read(chosen: argparse.Namespace) -> Path | None:
    """Return the outputs folder whose run folders are read instead of MLflow; None where MLflow is read.

    They are read where no store is named and MLflow has none of these runs: with tracking=none, before MLflow's default
    file exists, and where MLflow is not installed.
    """
    uri, is_default = store_uri(chosen)
    outputs = outputs_folder(chosen)
    is_in_mlflow = Path(uri.removeprefix("sqlite:///")).is_file() and is_installed("mlflow")
    if not is_default or (is_in_mlflow and "tracking=none" not in chosen.overrides):
        return None
    return outputs if any((outputs / "runs").glob("*/run.json")) else None


def store_uri(chosen: argparse.Namespace) -> tuple[str, bool]:
    """Return the URI of the store: as given, else of MLFLOW_TRACKING_URI; the flag is true if it is the default."""
    given = dict(override.split("=", 1) for override in chosen.overrides)
    if uri := asked_uri("--uri" if chosen.uri else "tracking.uri", chosen.uri or given.get("tracking.uri")):
        return uri, False
    return f"sqlite:///{(outputs_folder(chosen) / 'mlflow.db').resolve()}", True


def outputs_folder(chosen: argparse.Namespace) -> Path:
    """Return the output folder of the runs, from the overrides."""
    given = dict(override.split("=", 1) for override in chosen.overrides)
    return Path(given.get("paths.outputs", "outputs"))


def store_words(chosen: argparse.Namespace) -> str:
    """Return the text after "lacks 3 of 4 runs": in which store, or that the default store does not exist yet."""
    uri, is_default = store_uri(chosen)
    path = outputs_folder(chosen) / "mlflow.db"
    if (outputs := outputs_read(chosen)) is not None:
        return f" in the run folders of {outputs / 'runs'}"
    if is_default and not path.is_file():
        here = "" if path.is_absolute() else " here"
        advice_on_store = "if your runs are elsewhere, go there or name their store with --uri"
        return f"; there is no store {path}{here} yet ({advice_on_store})"
    of = f"experiment {chosen.experiment} of " if chosen.experiment else ""
    return f" in {of}{path if is_default else without_password(uri)}"
