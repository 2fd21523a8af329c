"""A run's settings as its folder keeps them: flat, compared with the default and with other runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from odkd.common.dotted import WHERE_AND_HOW, flatten, is_in
from odkd.common.renamed import current_config
from odkd.runs.results import Run

# Two runs that differ in nothing else have the same numbers.
NO_DIFFERENCE = (*WHERE_AND_HOW, "dataset.palette", "dataset.prepare.folder")
PLAIN = {"NoRegularizer": "none"}  # class -> what people say


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it is imported
    """YAML as OmegaConf reads it, which has no loader in C: ten times as fast on the thousand runs of a sweep."""


# OmegaConf's two differences from YAML 1.1: 1e-4 is a number, a date is text.
Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for letter, found in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(_\d+)*(\.[\d_]*)?[eE][-+]?\d+$", re.ASCII), list("-+0123456789")
)


def read_config(path: Path) -> dict[Any, Any] | None:
    """A run's config.yaml, as OmegaConf would give it; None where there is none, or none that can be read."""
    try:
        loaded = yaml.load(path.read_bytes(), Loader=Loader)
    except Exception:  # YAML's own errors share no class; what is left of a run is still worth a page
        return None
    return current_config(loaded) if isinstance(loaded, dict) else None


def settings_of(run: Run) -> dict[str, str]:
    """Every setting by its dotted key, in the order of config.yaml; run.json's where that is missing."""
    config = read_config(run.folder / "config.yaml")
    return run.params if config is None else flatten(config, spell=spelled)


@cache
def default_settings() -> Mapping[str, str]:
    """What a plain `odkd` would run, by dotted key."""
    from odkd.config.compose import default_config

    whole: Any = OmegaConf.to_container(default_config(), resolve=True)
    return flatten(whole, spell=spelled)


def spelled(value: Any) -> str:
    """A value as YAML and the command line spell it."""
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def changed_settings(settings: Mapping[str, str], default: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Key, value, default value of what differs; "" where the default has no such key (another choice of a group).

    What only the default has, and what is null and unknown to it, is no setting that anybody chose.

    >>> changed_settings({"a": "1", "b": "2", "c": "null", "d": "4"}, {"a": "1", "b": "3", "e": "5"})
    [('b', '2', '3'), ('d', '4', '')]
    """
    return [
        (key, value, default.get(key, ""))
        for key, value in settings.items()
        if not is_in(key, NO_DIFFERENCE) and value != default.get(key, "null")
    ]


def overrides_of(run: Run) -> list[str]:
    """What was asked for on the command line."""
    path = run.folder / "overrides.txt"
    return path.read_text().splitlines() if path.is_file() else []


def command_of(run: Run) -> str:
    """The command that makes this run again."""
    own = ["--config-dir", folder] if (folder := run.tags.get("odkd.config_dir")) else []
    return shlex.join(["odkd", *own, *overrides_of(run)])


def classes_of(run: Run) -> list[str]:
    """Names of the classes in the order of their ids; where config.yaml does not say, as the metrics name them."""
    dataset = (read_config(run.folder / "config.yaml") or {}).get("dataset")
    known = dataset.get("classes") if isinstance(dataset, dict) else None
    if known:
        return [str(name) for name in known]
    keys = [key.split("/", 2) for key in (*run.summary, *(key for line in run.metrics for key in line["metrics"]))]
    return list(dict.fromkeys(parts[2] for parts in keys if len(parts) == 3 and parts[1] == "iou"))


def read_text(path: Path) -> str:
    """A file's text, "" where there is none; what is no UTF-8 is shown as question marks."""
    return path.read_text(errors="replace") if path.is_file() else ""


def class_name(target: str) -> str:
    """What people call the class that a `_target_` names.

    >>> class_name("odkd.training.replay.fifo.Fifo"), class_name("odkd.training.regularizers.none.NoRegularizer")
    ('fifo', 'none')
    """
    name = target.rpartition(".")[2]
    return PLAIN.get(name, name.lower())
