"""Names of earlier versions of odkd, so that runs, label stores and YAML files of before can still be read.

2026-11-28: the package was divided into rooms; classes that a YAML file names have moved.
"""

from collections.abc import Mapping
from typing import Any

MOVED = {  # module of before, with all below it -> where it is now
    "odkd.augment": "odkd.training.augment",
    "odkd.losses": "odkd.training.losses",
    "odkd.regularizers": "odkd.training.regularizers",
    "odkd.replay": "odkd.training.replay",
    "odkd.video": "odkd.data.video",
}


def current_target(target: str) -> str:
    """Return the dotted name under which a class of odkd is found today.

    >>> current_target("odkd.replay.fifo.Fifo"), current_target("my_lab.replay.Mine")
    ('odkd.training.replay.fifo.Fifo', 'my_lab.replay.Mine')
    """
    for before, now in MOVED.items():
        if target.startswith(f"{before}."):
            return now + target.removeprefix(before)
    return target


def current_config(value: Any) -> Any:
    """Return a config, as plain dictionaries and lists, with the `_target_`s of today."""
    if isinstance(value, Mapping):
        return {
            key: current_target(item) if key == "_target_" and isinstance(item, str) else current_config(item)
            for key, item in value.items()
        }
    return [current_config(item) for item in value] if isinstance(value, list) else value


def current_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return the params of a run, by dotted key, with the `_target_`s of today."""
    return {key: current_target(value) if key.endswith("_target_") else value for key, value in params.items()}
