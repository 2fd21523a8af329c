"""Where MLflow is: tracking.uri, else the variables that MLflow itself reads, else a SQLite file beside the runs."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig

from odkd.common.names import nearest
from odkd.runs.mlflow_client import without_password

logger = logging.getLogger(__name__)
URI, EXPERIMENT, EXPERIMENT_ID = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"
DEFAULT_EXPERIMENT = "odkd"
PLACES = "mlflow_places.txt"  # in the folder of outputs, one address a line
LONGEST_NAME = 250  # characters of an experiment's name; its column in MLflow's tables has 256
SERVERS, DATABASES = ("http", "https"), ("sqlite", "postgresql", "mysql", "mssql")
HOST_AND_PORT = r"[\w.-]+:\d+(/.*)?"
EXPECTED = "expected a server, http://HOST:PORT, or a database, sqlite:///FILE.db"


def has_mlflow(cfg: DictConfig) -> bool:
    """Return True if runs of a config go to MLflow: `tracking` has its settings, and is not turned off."""
    return bool(cfg.tracking.enabled) and "uri" in cfg.tracking


def place_of(cfg: DictConfig) -> dict[str, str]:
    """Return the arguments `uri` and `experiment` of `sync`."""
    default = f"sqlite:///{(Path(cfg.paths.outputs) / 'mlflow.db').resolve()}"
    uri = cfg.tracking.get("uri") or os.environ.get(URI) or default
    return {"uri": uri, "experiment": experiment_or_default(cfg.tracking.get("experiment"))}


def asked_uri(setting: str, given: str | None) -> str | None:
    """Return the address that a tool is to use; None if there is neither a given one nor MLFLOW_TRACKING_URI.

    Args:
        setting: where the given one comes from, for a message.
        given: an address, or the path of a SQLite file.

    Raises:
        ValueError: it is no address.
    """
    setting, uri = (setting, given) if given else (URI, os.environ.get(URI))
    if uri and "://" not in uri and (Path(uri).is_file() or uri.endswith((".db", ".sqlite"))):
        return f"sqlite:///{Path(uri).resolve()}"
    if uri:
        check_uri(setting, uri)
    return uri or None


def experiment_or_default(name: Any) -> str:
    """Return the name of the experiment: the given one, else that of MLFLOW_EXPERIMENT_NAME, else odkd."""
    return str(os.environ.get(EXPERIMENT) or DEFAULT_EXPERIMENT) if name is None else str(name)


def remember_place(cfg: DictConfig) -> None:
    """Note beside the runs where they go: `odkd-sync` connects to no other address, whatever a run's folder says."""
    if not has_mlflow(cfg):
        return
    outputs, address = Path(cfg.paths.outputs), without_password(place_of(cfg)["uri"])
    if address not in known_places(outputs):
        outputs.mkdir(parents=True, exist_ok=True)
        with (outputs / PLACES).open("a") as file:
            file.write(f"{address}\n")


def known_places(outputs: Path) -> set[str]:
    """Return the addresses, without passwords, to which runs of an outputs folder have gone."""
    path = outputs / PLACES
    return set(path.read_text(errors="replace").splitlines()) if path.is_file() else set()


def variables() -> dict[str, str]:
    """Return the variables of the environment that name a place, for jobs on other machines."""
    return {name: os.environ[name] for name in (URI, EXPERIMENT) if os.environ.get(name)}


def tell_variables(cfg: DictConfig) -> None:
    """Log which variables of the environment decide where the run goes in MLflow."""
    if not has_mlflow(cfg):
        return
    if not cfg.tracking.uri and os.environ.get(URI):
        logger.info("%s is set: the run goes to MLflow at %s", URI, without_password(os.environ[URI]))
    if cfg.tracking.experiment is None and os.environ.get(EXPERIMENT):
        logger.info("%s is set: the run goes to the experiment %s", EXPERIMENT, os.environ[EXPERIMENT])
    elif cfg.tracking.experiment is None and os.environ.get(EXPERIMENT_ID):
        logger.warning("%s is not used, because odkd names experiments: tracking.experiment=NAME", EXPERIMENT_ID)


def check_place(cfg: DictConfig) -> None:
    """Check where a run is to go in MLflow, without asking a server.

    Raises:
        ValueError: the address is none, or the name of the experiment is none.
    """
    if not has_mlflow(cfg):
        return
    is_given = bool(cfg.tracking.uri)
    if is_given or os.environ.get(URI):
        check_uri("tracking.uri" if is_given else URI, cfg.tracking.uri or os.environ[URI])
    elif {"?", "%"} & set(outputs := str(Path(cfg.paths.outputs).absolute())):
        raise ValueError(
            f"paths.outputs={outputs}: MLflow's SQLite file cannot lie below a name with ? or %; choose another"
        )
    is_given = cfg.tracking.experiment is not None
    name = experiment_or_default(cfg.tracking.experiment)
    if not (name.strip() and name.isprintable() and len(name) <= LONGEST_NAME):
        setting = "tracking.experiment" if is_given else EXPERIMENT
        raise ValueError(f"{setting}={name!r:.80}; expected a name of 1 to {LONGEST_NAME} characters, in one line")


def check_uri(setting: str, uri: Any) -> None:
    """Check that MLflow can be at an address, without asking there.

    Args:
        setting: where the address comes from, for the message.
        uri: the address.

    Raises:
        ValueError: it is none; the message says what to write instead.

    >>> check_uri("tracking.uri", "127.0.0.1:5000")
    Traceback (most recent call last):
    ValueError: tracking.uri=127.0.0.1:5000 is no address; write tracking.uri=http://127.0.0.1:5000
    """
    text = str(uri)
    shown = f"{setting}={without_password(text)}"
    if not text.isprintable() or (" " in text and not text.startswith("sqlite:")):
        raise ValueError(f"{setting}={text!r} has spaces or control characters; {EXPECTED}")
    scheme, separator, rest = text.partition("://")
    kind = scheme.partition("+")[0]  # postgresql+psycopg2
    if (kind == "databricks" and (separator or not rest)) or (separator and kind in _plugin_schemes()):
        return
    if separator and kind in SERVERS:
        _check_server(shown, text)
    elif not separator or kind not in DATABASES or (kind == "sqlite" and not re.fullmatch(r"/.+", rest)):
        meant = without_password(_meant(text))
        raise ValueError(f"{shown} is no address; " + (f"write {setting}={meant}" if meant else _no_store(text)))


def _check_server(shown: str, uri: str) -> None:
    try:
        parts = urlsplit(uri)
        is_server = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_server = False
    if not is_server:
        raise ValueError(f"{shown} names no server; expected http://HOST:PORT")


def _meant(uri: str) -> str:
    """Return the address that was probably meant, or an empty string."""
    if re.fullmatch(HOST_AND_PORT, uri):
        return f"http://{uri}"
    if uri.isdecimal():
        return f"http://127.0.0.1:{uri}"
    if re.fullmatch(r"[\w-]+(\.[\w-]+)+\.[a-z]+", uri):
        return f"http://{uri}"
    if found := re.fullmatch(r"(?i)(https?)[:/]+([\w.-].*)", uri):
        return f"{found[1].lower()}://{found[2]}"
    if found := re.fullmatch(r"(?i)sqlite:(/*)([^/].*)", uri):
        return f"sqlite:///{'/' if len(found[1]) in (1, 4) else ''}{found[2]}"
    if uri.startswith(("postgres://", "postgres+")):
        return uri.replace("postgres", "postgresql", 1)
    if "://" not in uri and re.search(r"\.(db|sqlite3?)$", uri):
        return f"sqlite:///{uri}"
    return ""


def _no_store(uri: str) -> str:
    """Return what to do about a folder, or about an unknown scheme."""
    scheme, separator, _ = uri.partition("://")
    known = [*SERVERS, *DATABASES, "databricks"]
    if separator and scheme != "file":
        return f"MLflow knows no {scheme}://{nearest(scheme, known)} ({EXPECTED})"
    folder = re.sub(r"^file:(//)?", "", uri).rstrip("/")
    return (
        f"MLflow takes no new runs in folders such as mlruns; write sqlite:///{folder}/mlflow.db for a file there, or "
        "http://HOST:PORT for a server"
    )


def _plugin_schemes() -> set[str]:
    """Return the schemes that installed plugins of MLflow add."""
    return {entry.name for entry in importlib.metadata.entry_points(group="mlflow.tracking_store")}
