"""MLflow's Python library, imported without its console output and telemetry, and clients of it."""

from __future__ import annotations

import contextlib
import functools
import logging
import logging.config
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from filelock import FileLock

from odkd.common.optional import check_installed, optional

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_SECONDS = 60.0  # the longest wait for another process that works on the same folder or database
DATABASE = ("sqlalchemy", "alembic")  # libraries for a store in a file, which mlflow-skinny leaves out
SECRET = r"(?i)[^=]*(pass(word|wd)?|token|secret|key)[^=]*="  # a parameter of a URI
_importing = threading.Lock()


def mlflow_client(uri: str) -> MlflowClient:
    """Return a quiet client with short timeouts; the global tracking URI does not change."""
    client: MlflowClient = import_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client


def connect(uri: str) -> MlflowClient:
    """Return a client for writing to `uri`; a missing SQLite file is created."""
    if uri.startswith("sqlite:///"):
        import_mlflow()
        _create_database(Path(uri.removeprefix("sqlite:///")))
    return mlflow_client(uri)


def check_mlflow(uri: str, user: str, instead: str = "") -> None:
    """Check that MLflow's library is there, with what a SQLite file needs; it is not imported.

    Args:
        uri: of the store.
        user: what needs it, for the message.
        instead: another way out, for the message.

    Raises:
        ValueError: a library is not installed.
    """
    check_installed(user, ["mlflow", *(DATABASE if uri.startswith("sqlite:") else ())], instead)


def without_password(uri: str) -> str:
    """Return the URI without user, password and secret parameters, so that it can be stored and shown.

    >>> without_password("postgresql://me:p@ss/word@host/db?sslmode=require&password=x")
    'postgresql://host/db?sslmode=require'
    """
    base, mark, query = uri.replace(f"://{_user_part(uri)}", "://", 1).partition("?")
    kept = [part for part in query.split("&") if not re.match(SECRET, part)]
    return f"{base}?{'&'.join(kept)}" if mark and kept else base


def secrets_in(uri: str) -> list[str]:
    """Return the texts of a URI that must not be shown: passwords and tokens, as written and as meant.

    >>> secrets_in("https://me:s3%40cret@host?token=abc")
    ['s3%40cret', 's3@cret', 'abc']
    """
    user, colon, password = _user_part(uri).removesuffix("@").partition(":")
    found = [password if colon else user]
    found += [part.partition("=")[2] for part in uri.partition("?")[2].split("&") if re.match(SECRET, part)]
    return list(dict.fromkeys(text for secret in found for text in (secret, unquote(secret)) if text))


def _user_part(uri: str) -> str:
    """Return what stands before the host, `user:password@`; "" if nothing does.

    A password may hold the characters / ? # @ as they are, although they should be written %2F, ...
    """
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] == "sqlite" or "@" not in rest:
        return ""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, _, port = authority.partition(":")
    if "@" in user:  # without a password
        return authority[: authority.rindex("@") + 1]
    return rest[: rest.rindex("@") + 1] if port and not port.isdecimal() else ""


def import_mlflow() -> Any:
    """Return the mlflow library, without its warnings."""
    with _importing:  # only one of several threads imports it
        mlflow = _import_mlflow()
    warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy)\b")  # the user cannot fix these
    return mlflow


@functools.cache
def _import_mlflow() -> Any:
    """Import mlflow with telemetry and log messages off, and with a timeout of one minute.

    Only mlflow's own defaults change: what the user has set in the environment wins, and the environment
    stays unchanged.
    """
    silence = "mlflow" not in sys.modules and "MLFLOW_DISABLE_TELEMETRY" not in os.environ
    if silence:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # mlflow reads it during its import
    try:
        mlflow = optional("mlflow", "logging to MLflow")
        from mlflow import environment_variables as settings
    finally:
        if silence:
            del os.environ["MLFLOW_DISABLE_TELEMETRY"]
    settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 0  # the next pass retries; create_run sent twice makes two runs
    settings.MLFLOW_HTTP_REQUEST_TIMEOUT.default = 60  # seconds; the answer to an upload takes a while
    for name, value in {
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": False,
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": True,
    }.items():
        if hasattr(settings, name):  # MLflow 2 has no setting for the latter, which it prints less often
            getattr(settings, name).default = value
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints a traceback of what it raises
        logging.getLogger("alembic").setLevel(logging.ERROR)
        for name in ("alembic.runtime.migration", "alembic.runtime.plugins"):  # MLflow 2 sets the level again, to INFO
            logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.ERROR)
    return mlflow


@contextlib.contextmanager
def _quiet_migrations() -> Iterator[None]:
    """Keep what this thread logs in the block from the user, and the root logger's handlers as they are.

    MLflow's migrations configure logging anew for the whole process, and tell of each table.
    """
    creator, handlers, configure = threading.get_ident(), list(logging.root.handlers), logging.config.fileConfig

    def is_kept(record: logging.LogRecord) -> bool:
        return record.thread != creator or record.levelno >= logging.ERROR

    for handler in handlers:
        handler.addFilter(is_kept)
    logging.config.fileConfig = lambda *_, **__: None
    try:
        yield
    finally:
        logging.config.fileConfig = configure
        for handler in handlers:
            handler.removeFilter(is_kept)


def _create_database(database: Path) -> None:
    """Create MLflow's tables under a temporary name, so that a kill or a full disk leaves no partial database."""
    from mlflow.store.tracking import sqlalchemy_store

    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=LOCK_SECONDS):  # only one of several processes creates it
        if database.is_file() and database.stat().st_size > 0:
            return
        unfinished = database.with_name(f".{database.name}.new")
        for path in database.parent.glob(f"{unfinished.name}*"):  # files of a killed process, and their journals
            path.unlink()
        make_store: Any = sqlalchemy_store.SqlAlchemyStore
        artifacts = (database.parent / "mlartifacts").absolute().as_uri()
        with _quiet_migrations():
            make_store(f"sqlite:///{unfinished}", artifacts).engine.dispose()
        unfinished.replace(database)
