"""MLflow as a tracker; `odkd.runs.mlflow_sync` does the work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from odkd.runs.mlflow_client import check_mlflow, without_password
from odkd.runs.mlflow_sync import forget, is_complete, sync
from odkd.runs.reaching import is_damaged


class MLflow:
    """Runs in an experiment of an MLflow store.

    Args:
        uri: address of the server or database.
        experiment: its name.

    Raises:
        ValueError: MLflow's library is not installed.
    """

    def __init__(self, *, uri: str, experiment: str) -> None:
        check_mlflow(uri, "tracking=mlflow", "or add tracking=none, which keeps the run folder only")
        self.uri, self.experiment = uri, experiment
        self.place = f"MLflow at {without_password(uri)}"

    def sync(self, folder: Path, *, is_last: bool, sent: Mapping[str, int]) -> int:
        """Bring MLflow up to date; see `odkd.runs.mlflow_sync.sync`."""
        return sync(folder, uri=self.uri, experiment=self.experiment, artifacts=is_last, sent=sent)

    def is_complete(self, folder: Path) -> bool:
        """Return True if MLflow has all of a run that has ended, according to the folder."""
        return is_complete(folder, uri=self.uri, experiment=self.experiment)

    def advice(self, error: BaseException | None) -> str:
        """Return what to do when MLflow was not reached; see `advice`."""
        return advice(self.uri, error)

    def forget(self, folder: Path) -> None:
        """Delete the MLflow run of a folder; MLflow can restore it."""
        forget(folder, uri=self.uri, experiment=self.experiment)


def advice(uri: str, error: BaseException | None) -> str:
    """Return what to do when MLflow was not reached; "" if the error says all: a file that is sound stays in place."""
    if uri.startswith("sqlite:"):
        path = uri.removeprefix("sqlite:///")
        return f"{path} is damaged: move it away; odkd-sync sends all runs to a new one." if is_damaged(error) else ""
    return f"Start the MLflow server at {without_password(uri)} or name another with --uri, then try again."
