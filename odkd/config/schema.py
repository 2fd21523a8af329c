"""The types of the settings that are no parameters of a class, and what holds for every value of a config.

Settings of a method are typed by the constructor of its class (`config/check.py: check_methods`). A test walks all
groups, so that each of their keys is typed in one of these places, or has a check of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.common.reading import brief, shown
from odkd.common.settings import (
    ExistingFile,
    Fraction,
    NaturalInt,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    check_setting,
)
from odkd.common.yaml_files import load_config
from odkd.config.check_answers import check_classes, check_normalization
from odkd.config.compose import complete
from odkd.config.permissions import revoke
from odkd.config.plain import PLAIN
from odkd.data.video.fit import FITS
from odkd.runs.run_file import verify

MOST_THREADS = 1024
MOST_BORDER = 1000  # pixels
MOST_INT = 2**63  # of torch
MOST_FLOAT = 1e30  # a float32 goes to 3e38, and factors must have room
MOST_LETTERS = 4096  # of a text; a path has no more
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
SETTINGS: dict[str, Any] = {
    "seed": NaturalInt,
    "device": str,
    "precision": Precision,
    "channels_last": Literal["auto", True, False],
    "fast_forms": Literal["auto", True, False],
    "compile": bool,
    "threads": Annotated[int, Ge(1), Le(MOST_THREADS)] | None,
    "deterministic": bool,
    "bank.memory_gib": PositiveFloat,
    "window.learn": PositiveInt,
    "window.test": PositiveInt,
    "window.step": PositiveInt,
    "dataset.start": int | None,
    "dataset.stop": int | None,
    "dataset.stride": PositiveInt,
    "dataset.stride_seconds": PositiveFloat | None,
    "dataset.recorded": bool,
    "dataset.seconds_per_frame": PositiveFloat | None,
    "dataset.frame_store": Literal["disk", "none"],
    "dataset.decoder": Literal["pyav", "torchcodec"],
    "dataset.fit": Literal[FITS],
    "dataset.palette": list[list[int]] | None,
    "dataset.groundtruth_classes": list[str] | str | None,
    "dataset.download": str | None,
    "teacher.licence": str | None,
    "teacher.source": str | None,
    "teacher.batch_size": PositiveInt,
    "teacher.allow_missing": bool,
    "teacher.soft.top_k": NaturalInt,
    "student.weights": ExistingFile | None,
    "student.freeze": list[str] | None,
    "student.rates": dict[str, NonNegativeFloat] | None,
    "student.ema": Fraction | None,
    "student.saved": Literal["ema", "current"],
    "student.statistics": Literal["own", "frozen", "batch"],
    "updates.sent": Literal["float16", "float32"] | None,
    "features.size": Annotated[list[PositiveInt], Len(2, 2)] | None,
    "optimizer.lr": PositiveFloat,
    "optimizer.weight_decay": NonNegativeFloat,
    "optimizer.momentum": Fraction,
    "schedule.gamma": PositiveFloat,
    "schedule.milestones": list[PositiveInt],
    "evaluation.groundtruth": Literal["auto", True, False],
    "evaluation.predictor": Literal["student", "teacher"],
    "evaluation.batch_size": PositiveInt,
    "evaluation.border_pixels": Annotated[int, Ge(0), Le(MOST_BORDER)],
    "evaluation.shift": PositiveInt | Literal["auto"] | None,
    "evaluation.segment_frames": NaturalInt,
    "evaluation.final": bool,
    "tracking.enabled": bool,
    "tracking.experiment": str | None,
    "tracking.uri": str | None,
    "tracking.seconds": PositiveFloat,
    "tracking.close_seconds": PositiveFloat,
    "tracking.system_seconds": PositiveFloat | None,
    "run.restart": bool,
    "run.repeat": NaturalInt,
    "run.checkpoint_overhead": PositiveFloat,
    "run.plots": Literal["auto", True, False],
    "run.report": Literal["auto", True, False],
    "run.overlay_video": bool,
    "run.snapshots": PositiveInt | None,
    "sweep.fail_fast": bool,
    "sweep.job": int | None,
}
LATER: dict[str, Any] = {  # settings that configs of earlier versions lack, with the value that those computed with
    "fast_forms": False,
    "features": {"pairs": [], "size": None, "losses": {}},
    "run": {"snapshots": None},
    "student": {"ema": None, "saved": "ema", "rates": None, "statistics": "own"},
    **PLAIN,
}
STORED = (  # settings with which a student of a stored run is used again
    *("seed", "precision", "channels_last", "student.statistics", "dataset.palette", "evaluation.batch_size"),
)
MOST_STORED = 2**23  # pixels, 4K; a stored student is tried at its size, which takes some 500 bytes for each


def check_settings(cfg: DictConfig, settings: Mapping[str, Any], keys: Iterable[str] | None = None) -> None:
    """Check the settings that a config has against their types.

    Raises:
        ValueError: the first value that does not fit.
    """
    for key in settings if keys is None else keys:
        group, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, group) if group else cfg
        if OmegaConf.is_dict(node) and name in node:
            value = node[name]
            check_setting(key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, settings[key])


def check_values(value: Any, key: str = "") -> None:
    """Check that numbers are finite and fit into those of torch, and that texts could be names of files.

    Raises:
        ValueError: the first value that does not.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            check_values(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            check_values(inner, key)
    elif isinstance(value, str) and (len(value) > MOST_LETTERS or "\0" in value):
        raise ValueError(f"{key}={value[:40]!r}... has a NUL, or more than {MOST_LETTERS} letters; shorten it")
    elif isinstance(value, float) and not (math.isfinite(value) and abs(value) <= MOST_FLOAT):
        raise ValueError(f"{key}={value}; expected a number from -{MOST_FLOAT:g} to {MOST_FLOAT:g}")
    elif isinstance(value, int) and not -MOST_INT <= value < MOST_INT:
        raise ValueError(
            f"{key}={brief(f'{value:.6g}' if abs(value) < 10**300 else 'a number')}; expected a number below 2^63"
        )


def stored_config(run: Path, allow_targets: Sequence[str] = ()) -> DictConfig:
    """Return the completed config of a run, which is data: it may come from anywhere.

    Args:
        allow_targets: packages that the command permits; what the config permits itself does not count.

    Raises:
        ValueError: the folder has none, or it is damaged, or was changed since the run finished.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{run} has no config.yaml; expected a run folder, such as outputs/runs/NAME-KEY")
    verify(run, [path.name])
    loaded = load_config(path)
    try:
        cfg = complete(DictConfig(OmegaConf.merge(LATER, loaded)))
        check_values(OmegaConf.to_container(cfg, resolve=True))
        revoke(cfg)
        cfg.allow_targets = list(allow_targets)
        check_settings(cfg, SETTINGS, STORED)
        for group in ("dataset", "student", "evaluation"):
            if not OmegaConf.is_dict(cfg.get(group)):
                raise ValueError(f"it has no {group}")
        size: Any = OmegaConf.to_container(cfg.dataset.size)
        check_setting("dataset.size", size, Annotated[list[PositiveInt], Len(2, 2)])
        if math.prod(size) > MOST_STORED:
            raise ValueError(f"dataset.size={size}; expected at most {MOST_STORED} pixels")
        check_classes(cfg.dataset)
        if missing := [name for name in ("mean", "std") if name not in cfg.student]:
            raise ValueError(f"it has no student.{missing[0]}")
        check_normalization("student", cfg.student)
    except (ValueError, TypeError, AttributeError, KeyError, OmegaConfBaseException, RecursionError) as error:
        raise ValueError(f"{shown(path)} is damaged ({brief(error)}); restore it, or use another run") from error
    return cfg
