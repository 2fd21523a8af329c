"""The config of a student to profile: that of a run, or one composed of settings; what needs data is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

NEEDED = ("dataset", "teacher", "student", "stage", "window", "loss", "optimizer")  # that every run has had
BEFORE = {"precision": "float32", "channels_last": False, "fast_forms": False}  # of runs without these settings
MEASURED = (  # what the figures depend on, beside classes and size
    *("student", "stage", "loss", "optimizer", "regularizer", "augmentation", "device", "precision", "channels_last"),
    *("fast_forms", "compile", "threads", "deterministic"),
)


def config_of_words(words: Sequence[str], config_dir: str | None, allow_targets: Sequence[str]) -> DictConfig:
    """Return the config that these settings compose.

    Raises:
        ValueError: a mistake in them.
    """
    from odkd.config.check_present import check_present
    from odkd.config.compose import compose_table_config

    given = [f"allow_targets=[{','.join(allow_targets)}]"] if allow_targets else []
    cfg = compose_table_config([*words, *given], config_dir)
    check_present(cfg)
    return _ready(cfg)


def config_of_run(run: Path, device: str, allow_targets: Sequence[str]) -> DictConfig:
    """Return the config of a run, for a device of this machine; what it permits itself does not count.

    Raises:
        ValueError: there is none, it was changed, or it is damaged.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from odkd.common.device import choose_device
    from odkd.common.numerics import is_fast_on_cpu
    from odkd.common.reading import brief
    from odkd.config.compose import default_config
    from odkd.config.schema import stored_config

    stored = stored_config(run, allow_targets)
    OmegaConf.set_struct(stored, False)
    for group in NEEDED:
        if not OmegaConf.is_dict(stored.get(group)):
            raise ValueError(f"config.yaml of {run} has no {group}; restore it, or use another run")
    chosen = choose_device(device, precision="float32")
    for name, setting in BEFORE.items():
        stored.setdefault(name, setting)
    defaults = default_config().copy()
    OmegaConf.set_struct(defaults, False)
    for key, default in defaults.items():  # settings that are newer than the run
        name = str(key)
        if name not in NEEDED:
            is_table = OmegaConf.is_dict(default) and "_target_" not in default and OmegaConf.is_dict(stored.get(name))
            stored[name] = OmegaConf.merge(default, stored[name]) if is_table else stored.get(name, default)
    stored.device = str(chosen)
    if chosen.type == "cpu" and not is_fast_on_cpu(str(stored.precision)):
        stored.precision = "float32"  # as `load_student` does
    try:
        return _ready(stored)
    except (AttributeError, TypeError, KeyError, OmegaConfBaseException) as error:
        raise ValueError(f"config.yaml of {run} is damaged ({brief(error)}); restore it, or use another run") from error


def _ready(cfg: DictConfig) -> DictConfig:
    """Return a checked config with its numerics chosen, without initial weights.

    Raises:
        ValueError: a mistake in it.
    """
    from omegaconf import OmegaConf

    from odkd.config.check import check_methods
    from odkd.config.numerics import with_numerics
    from odkd.config.parts_student import INITIAL_WEIGHTS
    from odkd.config.schema import SETTINGS, check_settings
    from odkd.data.window import Window

    if OmegaConf.is_missing(cfg.dataset, "classes"):
        raise ValueError(
            "dataset.classes is not set; add dataset.classes=... to the command: a student has an output each"
        )
    cfg = cfg.copy()
    for name in ("weights", *INITIAL_WEIGHTS):  # the figures do not depend on them, and nothing is downloaded
        if name in cfg.student:
            cfg.student[name] = None
    check_settings(cfg, SETTINGS, [key for key in SETTINGS if not key.startswith(("dataset", "teacher", "tracking"))])
    check_methods(_without_data(cfg))
    Window(**cfg.window)
    return with_numerics(cfg)[0]


def _without_data(cfg: DictConfig) -> DictConfig:
    """Return a copy without teacher and data set, but for the classes and the size: no file of theirs is looked at."""
    from omegaconf import OmegaConf

    cut = cfg.copy()
    OmegaConf.set_struct(cut, False)
    cut.teacher = {}
    cut.dataset = {"classes": cfg.dataset.classes, "size": cfg.dataset.size}
    return cut


def digest_of(cfg: DictConfig) -> str:
    """Return a digest of all that the figures depend on: equal for runs whose students take the same time."""
    from omegaconf import OmegaConf

    from odkd.common.files import json_digest

    container: Any = OmegaConf.to_container(_without_data(cfg), resolve=True)
    soft: Any = OmegaConf.to_container(cfg.teacher.soft, resolve=True)
    parts = [container.get(key) for key in MEASURED]
    return json_digest([parts, len(container["dataset"]["classes"]), container["dataset"]["size"], soft])
