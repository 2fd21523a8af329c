"""The trackers of a config: MLflow, whose settings are at the top, and the class of each other table of `tracking`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.config.construct import construct
from odkd.runs import tracker as notes
from odkd.runs.mlflow_place import has_mlflow, place_of, remember_place
from odkd.runs.sync import Tracking
from odkd.runs.tracker import Tracker
from odkd.runs.trackers.mlflow import MLflow


def tracking_of(cfg: DictConfig) -> Tracking:
    """Return the trackers of a config.

    Raises:
        ValueError: a library is missing, or a setting or class is wrong.
    """
    if not cfg.tracking.enabled:
        return Tracking()
    outputs, allowed = Path(cfg.paths.outputs), list(cfg.allow_targets)
    makers: dict[str, Callable[[], Tracker]] = {}
    if has_mlflow(cfg):
        makers["mlflow"] = partial(MLflow, **place_of(cfg))
    whole: Any = OmegaConf.to_container(cfg.tracking, resolve=True)
    plain: dict[str, Any] = {name: settings for name, settings in whole.items() if isinstance(settings, dict)}
    makers |= {name: partial(build, name, settings, outputs, allowed) for name, settings in plain.items()}

    def make() -> Mapping[str, Tracker]:
        return {name: maker() for name, maker in makers.items()}

    def note(folder: Path) -> None:
        remember_place(cfg)
        for name, settings in plain.items():
            notes.note(folder, outputs, name, settings, tracking.trackers[name])

    tracking = Tracking(make, note, cfg.tracking.seconds, cfg.tracking.close_seconds)
    return tracking


def build(name: str, settings: Mapping[str, Any], outputs: Path, allowed: Sequence[str]) -> Tracker:
    """Return a tracker of the table `tracking.NAME`.

    Args:
        name: of the table.
        settings: with `_target_`.
        outputs: the folder of outputs, which a constructor may ask for.
        allowed: the user's packages whose classes may be named.

    Raises:
        ValueError: the class may not be named, is none, or refuses a setting.
    """
    if "_target_" not in settings:
        raise ValueError(f"tracking.{name} has no _target_, the class of a tracker; add it, or leave {name} out")
    node = OmegaConf.create(dict(settings))
    made: Tracker = construct(node, (), {"outputs": outputs}, list(allowed), f"tracking.{name}")
    return made
