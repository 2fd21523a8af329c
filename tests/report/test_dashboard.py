"""The advice of the summary on MLflow: a command that works in the folder where it is read."""

from pathlib import Path

import pytest
from paths import ROOT

from odkd.report.summary import dashboard


@pytest.mark.parametrize("uri", ["http://lab:5000", "https://lab", "databricks", "databricks://profile"])
def test_a_server_is_named_by_its_address(uri: str) -> None:
    assert dashboard(uri) == uri


def test_make_is_named_only_where_a_makefile_of_odkd_shows_that_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}"
    assert dashboard(here) == "mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db"
    (tmp_path / "Makefile").write_text("all: paper.pdf\n")
    assert dashboard(here).startswith("mlflow ui")
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    assert dashboard(here) == "make dashboard"
    assert dashboard("sqlite:////else where/x.db") == "mlflow ui --backend-store-uri 'sqlite:////else where/x.db'"
    assert dashboard(f"sqlite:///{tmp_path / 'x.db'}") == "mlflow ui --backend-store-uri sqlite:///x.db"
    assert dashboard("postgresql://host/x") == "mlflow ui --backend-store-uri postgresql://host/x"
