"""Whether MLflow can be used at an address: it answers, and its database has the form that the library expects."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from odkd.runs.mlflow_client import check_mlflow, import_mlflow, mlflow_client, without_password


def ask_mlflow(uri: str) -> dict[str, Any]:
    """Return what answers at an address; nothing is created there.

    Returns:
        library: MLflow's release here. exists: False for a SQLite file that the first run will create. revision and
        expected: of the tables of a SQLite file, if it exists. experiments: their number, at most 1000.

    Raises:
        ValueError: MLflow's library is missing, or the file is no database of MLflow, or one of another release.
        Exception: any error of MLflow if it cannot be reached.
    """
    check_mlflow(uri, "logging to MLflow")
    found: dict[str, Any] = {"library": import_mlflow().__version__, "exists": True}
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        if not path.is_file() or not path.stat().st_size:
            return found | {"exists": False}
        found |= {"revision": revision_of(path), "expected": expected_revision()}
        check_revision(found["revision"], found["expected"], uri)
    return found | {"experiments": len(mlflow_client(uri).search_experiments(max_results=1000))}


def revision_of(database: Path) -> str:
    """Return the revision of the tables in a SQLite file.

    Raises:
        ValueError: it is no database of MLflow.
    """
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise ValueError(f"{database} is no database of MLflow, or it is damaged ({error}); move it away") from error
    return str(revision)


def expected_revision() -> str:
    """Return the revision of tables that the MLflow installed here works with."""
    from alembic.script import ScriptDirectory

    folder = Path(str(import_mlflow().__file__)).parent / "store" / "db_migrations"
    return str(ScriptDirectory(str(folder)).get_current_head())


def check_revision(revision: str, expected: str, uri: str) -> None:
    """Check that the tables of a database are those that the library works with.

    Raises:
        ValueError: they are older, or newer.
    """
    if revision == expected:
        return
    from alembic.script import ScriptDirectory

    folder = Path(str(import_mlflow().__file__)).parent / "store" / "db_migrations"
    known = {script.revision for script in ScriptDirectory(str(folder)).walk_revisions()}
    shown = without_password(uri)
    if revision in known:
        raise ValueError(
            f"the tables of {shown} are of an older MLflow ({revision}, expected {expected}); copy the file, then: "
            f"mlflow db upgrade {shown}"
        )
    raise ValueError(
        f"the tables of {shown} are of a newer MLflow than the one installed ({revision}, expected {expected}); "
        "install a newer one: pip install --upgrade mlflow-skinny"
    )
