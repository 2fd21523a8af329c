"""The params of a run in MLflow: what differs from the default configuration, and a few key fields.

Three hundred flattened keys hide what a study varies. A key that a run's params lack has the default value, so
nothing is lost; the whole configuration is the artifact config.yaml.
"""

from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten
from odkd.common.files import json_digest
from odkd.config.compose import default_values

KEY_FIELDS = (
    "seed", "stage.name", "dataset.name", "teacher.name", "student.name", "window.learn", "window.test", "window.step",
    "dataset.classes",
)  # fmt: skip
LONGEST_CLASSES = 250  # characters of a list of classes that is shown as it is
GROUPS = ("replay", "regularizer", "loss", "baseline")  # their chosen names are params
NOT_SHOWN = (
    "paths.", "tracking.", "sweep.", "run.name", "run.plots", "run.report", "run.restart", "dataset.palette",
    "dataset.download", "dataset.prepare.folder",
)  # fmt: skip


def curated_params(cfg: DictConfig, choices: Mapping[str, str | None]) -> dict[str, str]:
    """Dotted key -> value as text. `cfg` must be complete; `choices`: group -> chosen name, as Hydra gives them."""
    values, default = flatten(OmegaConf.to_container(cfg, resolve=True)), default_values()
    chosen = {group: str(choices[group]) for group in GROUPS if choices.get(group) is not None}
    shown = {
        key: value
        for key, value in values.items()
        if (key in KEY_FIELDS or default.get(key) != value) and not key.startswith(NOT_SHOWN)
    }
    return chosen | shown | {"dataset.classes": short_classes(values["dataset.classes"])}


def short_classes(text: str) -> str:
    """A list of classes as a param has it: of a long one, a digest; runs with other classes are told apart by it.

    >>> short_classes("['road', 'car']")
    "['road', 'car']"
    """
    return text if len(text) <= LONGEST_CLASSES else f"sha256:{json_digest(text)}"
