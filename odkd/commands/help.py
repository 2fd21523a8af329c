"""The text of `odkd --help`: usage, the groups with their choices, where the YAML files lie."""

import string
from typing import Any

from omegaconf import OmegaConf

from odkd.config.known import CONF, PARTS, known_groups


def help_text(config_dir: str | None = None) -> str:
    """Return the text of conf/hydra/default.yaml, with the choices of each group and of the user's own groups.

    Args:
        config_dir: the folder of user-defined YAML files, from --config-dir.
    """
    described: Any = OmegaConf.load(CONF / "hydra" / "default.yaml")
    shown = [
        f"{name}: {', '.join(choices)}"
        for name, choices in sorted(known_groups(config_dir).items())
        if "/" not in name and name not in ("hydra", PARTS)
    ]
    values = {"HEADER": described.help.header.rstrip(), "GROUPS": "\n".join(shown), "CONF": CONF}
    return string.Template(described.help.template).substitute(values).rstrip()
