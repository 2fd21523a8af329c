"""The params of a run in MLflow: settings that differ from the default configuration, and a few key fields.

Three hundred flattened keys would hide what a study varies. A missing key has its default value, so nothing is lost;
the complete configuration is the artifact config.yaml.
"""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten
from odkd.common.files import json_digest
from odkd.config.compose import default_values

KEY_FIELDS = (
    *("seed", "stage.name", "dataset.name", "dataset.classes", "teacher.name", "student.name"),
    *("window.learn", "window.test", "window.step"),
)
LONGEST_CLASSES = 250  # characters; a longer list of classes is shown as a digest
GROUPS = ("replay", "regularizer", "updates", "loss", "baseline")  # groups whose choices are params
NOT_SHOWN = (
    *("paths.", "tracking.", "sweep.", "run.name", "run.plots", "run.report", "run.restart"),
    *("dataset.palette", "dataset.download", "dataset.prepare.folder"),
)


def curated_params(cfg: DictConfig, choices: Mapping[str, str | None]) -> dict[str, str]:
    """Return the params: dotted key -> value as text.

    Args:
        cfg: a complete config.
        choices: group -> chosen name, as Hydra gives them.
    """
    values, default = flatten(OmegaConf.to_container(cfg, resolve=True)), default_values()
    chosen = {group: str(choices[group]) for group in GROUPS if choices.get(group) is not None}
    shown = {
        key: value
        for key, value in values.items()
        if (key in KEY_FIELDS or default.get(key) != value) and not key.startswith(NOT_SHOWN)
    }
    return chosen | shown | {"dataset.classes": short_classes(values["dataset.classes"])}


def short_classes(text: str) -> str:
    """Return a list of classes as a param: a long list as its digest, which still tells runs apart.

    >>> short_classes("['road', 'car']")
    "['road', 'car']"
    """
    return text if len(text) <= LONGEST_CLASSES else f"sha256:{json_digest(text)}"
