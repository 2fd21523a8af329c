"""Run keys of the smallest run with some overrides."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from tiny_settings import TINY

from odkd.config.known import CONF
from odkd.config.parts import Parts


def run_key(cache: Path, *overrides: str) -> str:
    """Return the key that odkd would give the run."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return Parts(compose("config", [*TINY, f"paths.outputs={cache}", f"paths.cache={cache}", *overrides])).key
