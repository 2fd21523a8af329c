"""What tests of the commands share: a finished run."""

from pathlib import Path

import pytest
from tiny_settings import TINY


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a finished run of one student; tests do not change it."""
    from odkd.commands.job import run_job
    from odkd.config.compose import compose_config
    from odkd.config.parts import Parts

    folder = tmp_path_factory.mktemp("outputs")
    cfg = compose_config([*TINY, f"paths.outputs={folder}", f"paths.cache={cache}"])
    run_job(cfg)
    return Parts(cfg).folder
