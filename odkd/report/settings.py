"""Settings of a run, read from its folder by dotted key, and their differences from the defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from odkd.common import reading
from odkd.common.dotted import WHERE_AND_HOW, flatten, is_in
from odkd.common.renamed import current_config
from odkd.common.yaml_files import load_yaml
from odkd.runs.results import Run

# Settings that do not affect the results: runs that differ only in these have the same numbers.
NO_DIFFERENCE = (*WHERE_AND_HOW, "dataset.palette", "dataset.prepare.folder")
PLAIN = {"NoRegularizer": "none"}  # class -> its usual name


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it is imported
    """A YAML loader in C that reads values as OmegaConf does; ten times as fast, for sweeps with a thousand runs."""


# OmegaConf's two differences from YAML 1.1: 1e-4 is a number, a date is text.
Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for letter, found in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(_\d+)*(\.[\d_]*)?[eE][-+]?\d+$", re.ASCII), list("-+0123456789")
)


def read_config(path: Path) -> dict[Any, Any] | None:
    """Return a run's config.yaml as OmegaConf would; None if it is missing or cannot be read."""
    try:
        loaded = load_yaml(path, Loader)
    except Exception:  # YAML's errors share no class, and the rest of the run is still worth a page
        return None
    return current_config(loaded) if isinstance(loaded, dict) else None


def settings_of(run: Run) -> dict[str, str]:
    """Return every setting by dotted key, in the order of config.yaml; if that is missing, those of run.json."""
    config = read_config(run.folder / "config.yaml")
    return run.params if config is None else flatten(config, spell=spelled)


def scores_teacher(settings: Mapping[str, str]) -> bool:
    """True if a run scores the teacher's labels in place of a student's predictions (`baseline=teacher`)."""
    return settings.get("evaluation.predictor") == "teacher"


@cache
def default_settings() -> Mapping[str, str]:
    """Return the default settings of `odkd` by dotted key."""
    from odkd.config.compose import default_config

    container: Any = OmegaConf.to_container(default_config(), resolve=True)
    return flatten(container, spell=spelled)


def spelled(value: Any) -> str:
    """Return a value as YAML and the command line spell it."""
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def changed_settings(settings: Mapping[str, str], default: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (key, value, default) of the settings that differ from the defaults.

    The default is "" if it has no such key (another choice of a group). Keys that only the defaults have, and null
    values of keys that they lack, are skipped: nobody chose them.

    >>> changed_settings({"a": "1", "b": "2", "c": "null", "d": "4"}, {"a": "1", "b": "3", "e": "5"})
    [('b', '2', '3'), ('d', '4', '')]
    """
    return [
        (key, value, default.get(key, ""))
        for key, value in settings.items()
        if not is_in(key, NO_DIFFERENCE) and value != default.get(key, "null")
    ]


def device_of(run: Run) -> str:
    """Return the device that a run names, with its threads; "" if it names none."""
    return run.tags.get("odkd.device", "").replace(" 1 threads", " 1 thread")  # as runs wrote it until 2026-11


def classes_of(run: Run) -> list[str]:
    """Return the class names in the order of their ids; without a config.yaml, as the metrics name them."""
    dataset = (read_config(run.folder / "config.yaml") or {}).get("dataset")
    known = dataset.get("classes") if isinstance(dataset, dict) else None
    if known:
        return [str(name) for name in known]
    keys = [key.split("/", 2) for key in (*run.summary, *(key for line in run.metrics for key in line["metrics"]))]
    return list(dict.fromkeys(parts[2] for parts in keys if len(parts) == 3 and parts[1] == "iou"))


def read_text(path: Path) -> str:
    """Return the text of a file, "" if there is none; bytes that are not UTF-8 become question marks."""
    return reading.read_text(path) if path.is_file() else ""


def class_name(target: str) -> str:
    """Return the usual name of the class in a `_target_`.

    >>> class_name("odkd.training.replay.fifo.Fifo"), class_name("odkd.training.regularizers.none.NoRegularizer")
    ('fifo', 'none')
    """
    name = target.rpartition(".")[2]
    return PLAIN.get(name, name.lower())
