"""The text of `odkd --help`: usage, the groups with their choices, where the YAML files lie."""

import string
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from odkd.config.compose import CONF, known_groups


def help_text(config_dir: str | None = None) -> str:
    """Return the text of conf/hydra/default.yaml, with the choices of each group and of the user's own groups.

    Args:
        config_dir: the folder of user-defined YAML files, from --config-dir.
    """
    described: Any = OmegaConf.load(CONF / "hydra" / "default.yaml")
    groups = {name: list(choices) for name, choices in known_groups().items()}
    own = Path(config_dir) if config_dir is not None else None
    for file in sorted(own.rglob("*.yaml")) if own is not None else []:
        groups.setdefault(str(file.parent.relative_to(own or "")), []).append(file.stem)
    shown = [
        f"{name}: {', '.join(choices)}"
        for name, choices in sorted(groups.items())
        if choices and "parts" not in name.split("/") and name.split("/")[0] not in ("hydra", ".")
    ]
    values = {"HEADER": described.help.header.rstrip(), "GROUPS": "\n".join(shown), "CONF": CONF}
    return string.Template(described.help.template).substitute(values).rstrip()
