"""Where the YAML lies, and a config composed outside the `odkd` command (scripts, tools, tests)."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

PACKAGE = Path(__file__).resolve().parent
# In a wheel the YAML lies in the package, in a checkout beside it.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that `odkd OVERRIDES` would run."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))
