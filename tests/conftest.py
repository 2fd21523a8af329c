"""Fixtures: a shared cache, real data, an empty MLflow database, and odkd run inside this process."""

import logging
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from extras import skip_if_absent
from fabricated_run import FabricatedRun
from live_sessions import Session
from paths import SHARED
from time_limit import pytest_addoption, pytest_collection_modifyitems, pytest_configure, skip_if_late
from tiny_settings import TINY

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_configure"]  # pytest finds its hooks by name

os.environ.setdefault("MPLBACKEND", "agg")
for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):  # tests write no runs where a developer's runs go
    os.environ.pop(variable, None)
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of two workers on two cores would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Skip a test whose fixtures need a library of an extra that is absent, or for which no time is left."""
    skip_if_late(item)
    try:
        yield
    except BaseException as error:
        skip_if_absent(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Skip a test that needs a library of an extra that is absent."""
    try:
        yield
    except BaseException as error:
        skip_if_absent(error)
        raise


@pytest.fixture(autouse=True)
def level_of_logging() -> Generator[None]:
    """Keep the level that a command sets within a test from the next ones."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def camvid() -> Path:
    """Real driving video with human labels; skip the test where it is missing."""
    if not (SHARED / "camvid" / "videos").is_dir():
        pytest.skip("no real data: ../shared/camvid is not here")
    return SHARED / "camvid"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames, labels and synthetic videos shared by all tests of a session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, to be copied, because creating the tables takes seconds."""
    from odkd.runs.mlflow_sync import sync

    run = FabricatedRun(tmp_path_factory.mktemp("template") / "outputs")
    database = run.outputs / "mlflow.db"
    sync(run.folder, uri=f"sqlite:///{database}", experiment="template", artifacts=False)
    return database


@pytest.fixture
def odkd(tmp_path: Path, cache: Path) -> Callable[..., Path]:
    """Run odkd with overrides in this process and return the run's folder."""
    from odkd.commands.job import run_job
    from odkd.config.compose import compose_config
    from odkd.config.parts import Parts

    def run(*overrides: str, base: list[str] = TINY) -> Path:
        cfg = compose_config([*base, f"paths.outputs={tmp_path}", f"paths.cache={cache}", *overrides])
        run_job(cfg)
        return Parts(cfg).folder

    return run


@pytest.fixture
def sessions(tmp_path: Path) -> Generator[Callable[..., Session]]:
    started: list[Session] = []

    def start(*words: str, **how: Sequence[str]) -> Session:
        started.append(Session(tmp_path, *words, **how))
        return started[-1]

    yield start
    for session in started:
        session.process.kill()
        session.process.wait()
