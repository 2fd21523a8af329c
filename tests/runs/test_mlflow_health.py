"""Whether MLflow can be used: tables of another release are told apart, and nothing is created by asking."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from odkd.runs.mlflow_client import secrets_in, without_password
from odkd.runs.mlflow_health import ask_mlflow, expected_revision


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_database, tmp_path / "mlflow.db"))


def set_revision(database: Path, revision: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
        connection.commit()


def test_a_database_of_this_release_is_fine(database: Path) -> None:
    found = ask_mlflow(f"sqlite:///{database}")
    assert found["exists"]
    assert found["revision"] == found["expected"] == expected_revision()
    assert found["experiments"] == 2  # MLflow's own, and that of the template


def test_a_missing_database_is_fine_and_stays_missing(tmp_path: Path) -> None:
    assert not ask_mlflow(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")["exists"]
    assert list(tmp_path.iterdir()) == []


def test_tables_of_an_older_mlflow_are_told_from_those_of_a_newer_one(database: Path) -> None:
    set_revision(database, "451aebb31d03")  # MLflow's first
    with pytest.raises(ValueError, match=f"are of an older MLflow .*mlflow db upgrade sqlite:///{database}"):
        ask_mlflow(f"sqlite:///{database}")
    set_revision(database, "ffffffffffff")
    with pytest.raises(ValueError, match="are of a newer MLflow than the one installed"):
        ask_mlflow(f"sqlite:///{database}")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 9, None])
def test_a_file_that_is_no_database_of_mlflow_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mlflow.db"
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE other (x)")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mlflow\.db is no database of MLflow, or it is damaged"):
        ask_mlflow(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("uri", "shown", "secrets"),
    [
        ("https://me:secret@host:5000/x", "https://host:5000/x", ["secret"]),
        ("https://token@host/x", "https://host/x", ["token"]),
        ("http://host:5000/a@b", "http://host:5000/a@b", []),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/a@b/mlflow.db", []),
        ("postgresql://me:p@ss@host/db", "postgresql://host/db", ["p@ss"]),
        ("postgresql+psycopg2://me:p/s?s#w@host/db", "postgresql+psycopg2://host/db", ["p/s?s#w"]),
        ("mysql://me:p%40ss@host/db", "mysql://host/db", ["p%40ss", "p@ss"]),
        (
            "postgresql://host/db?user=me&password=hush&sslmode=require",
            "postgresql://host/db?user=me&sslmode=require",
            ["hush"],
        ),
        ("https://host/x?api_key=hush", "https://host/x", ["hush"]),
    ],
)
def test_secrets_of_an_address_are_not_shown(uri: str, shown: str, secrets: list[str]) -> None:
    assert without_password(uri) == shown
    assert secrets_in(uri) == secrets
