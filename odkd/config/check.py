"""Mistakes in a config, found before anything is computed; each answered in one message."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten
from odkd.common.names import nearest
from odkd.config.check_dataset import check_dataset, expected_layout, nearest_file
from odkd.config.check_stage import check_methods
from odkd.data.video.fit import FITS

POSITIVE_INTEGERS = (
    "window.learn", "window.test", "window.step", "dataset.stride", "teacher.batch_size",
    "evaluation.batch_size", "stage.batch_size", "stage.epochs", "threads", "replay.capacity",
    "stage.pretrain_epochs", "evaluation.shift", "stage.num_rounds", "stage.num_parts", "stage.patience",
    "stage.plain_epochs", "replay.candidates", "replay.num_positions",
)  # fmt: skip
NATURAL_NUMBERS = (
    "seed", "run.repeat", "teacher.soft.top_k", "evaluation.border_pixels", "evaluation.segment_frames",
    "stage.pretrain_positions",
)  # fmt: skip
WORDS = {"evaluation.shift": "auto", "stage.pretrain_positions": "all"}  # taken in a number's place
POSITIVE_NUMBERS = (
    "optimizer.lr", "bank.memory_gib", "tracking.seconds", "tracking.close_seconds", "tracking.system_seconds",
    "run.checkpoint_overhead", "dataset.stride_seconds",
)  # fmt: skip
BOOLEANS = (
    "channels_last",
    "compile",
    "deterministic",
    "run.restart",
    "run.overlay_video",
    "run.plots",
    "run.report",
    "sweep.fail_fast",
    "tracking.enabled",
    "teacher.allow_missing",
    "evaluation.final",
    "stage.drop_last",
    "stage.reference_metric",
    "replay.refresh",
    "regularizer.is_active",
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "precision": ("float32", "bfloat16", "float16"),
    "teacher.precision": ("float32", "bfloat16", "float16"),
    "dataset.frame_store": ("disk", "none"),
    "dataset.fit": FITS,
    "evaluation.groundtruth": ("auto", True, False),
    "evaluation.predictor": ("student", "teacher"),
    "stage.order": ("stream", "shuffled", "paired"),
    "stage.learn_from": ("teacher", "groundtruth"),
    "stage.best_by": ("miou", "miou_per_frame", "accuracy", "f1_weighted", "f1_macro"),
    "stage.best_against": (None, "teacher", "groundtruth", "previous_round"),
}
FILES = ("teacher.checkpoint", "student.weights")
URLS = ("teacher.checkpoint",)  # of the files, those that may lie on the web
OPTIONAL = (
    "threads",
    "dataset.stride_seconds",
    "student.weights",
    "evaluation.shift",
    "stage.patience",
    "stage.plain_epochs",
    "tracking.system_seconds",
)


def check_config(cfg: DictConfig) -> None:
    """Types, ranges, choices, files, and combinations of groups.

    Raises:
        ValueError: the first thing that is wrong: what we got, what we expected, what to change.
    """
    missing = sorted(key for key, value in flatten(OmegaConf.to_container(cfg)).items() if value == "???")
    if missing:
        layout = f": {expected_layout(cfg.dataset, 'FOLDER')}" if missing[0] == "dataset.root" else ""
        raise ValueError(f"{missing[0]} is not set; add {missing[0]}=... to the command{layout}")
    for key in POSITIVE_INTEGERS:
        _check(cfg, key, lambda v: type(v) is int and v >= 1, "a whole number of at least 1")
    for key in NATURAL_NUMBERS:
        _check(cfg, key, lambda v: type(v) is int and v >= 0, "a whole number of at least 0")
    for key in POSITIVE_NUMBERS:
        _check(cfg, key, lambda v: type(v) in (int, float) and v > 0, "a number above 0")
    for key in BOOLEANS:
        _check(cfg, key, lambda v: type(v) is bool, "true or false")
    for key, choices in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        names = [str(choice).lower() if isinstance(choice, bool) else choice for choice in choices]
        if _has(cfg, key) and value not in choices:
            raise ValueError(f"{key}={value}; expected one of {', '.join(names)}{nearest(str(value), names)}")
    for key in ("run.name", "teacher.name"):
        value = OmegaConf.select(cfg, key)
        if not (value is None and key == "run.name") and not re.fullmatch(r"[\w][\w .+-]*", str(value)):
            raise ValueError(f"{key}={value}; expected a plain folder name of letters, digits, . + - and _")
    for key in ("outputs", "cache", "labels", "weights"):
        if not (isinstance(cfg.paths[key], str) and cfg.paths[key]):
            raise ValueError(f"paths.{key}={cfg.paths[key]}; expected a folder")
    outputs = Path(cfg.paths.outputs).absolute()
    if cfg.tracking.enabled and not cfg.tracking.uri and {"?", "%"} & set(str(outputs)):
        raise ValueError(
            f"paths.outputs={outputs}: MLflow's SQLite file cannot lie below a name with ? or %; choose another"
        )
    _check_teacher(cfg.teacher)
    for key in FILES:
        value = OmegaConf.select(cfg, key)
        is_url = key in URLS and str(value).startswith(("http://", "https://"))
        if value is not None and not is_url and not Path(value).is_file():
            raise ValueError(f"{key}={value}: no such file{nearest_file(Path(value))}")
    check_dataset(cfg)
    check_methods(cfg, len(cfg.dataset.classes))


def _check(cfg: DictConfig, key: str, is_valid: Any, expected: str) -> None:
    value = OmegaConf.select(cfg, key)
    is_absent = value is None and (
        key in OPTIONAL or OmegaConf.select(cfg, key.split(".")[0]) is None or not _has(cfg, key)
    )
    word = WORDS.get(key)
    if not is_absent and not is_valid(value) and (word is None or value != word):
        others = f", or {word}{' or null' if key in OPTIONAL else ''}" if word else ""
        raise ValueError(f"{key}={value}; expected {expected}{others}")


def _has(cfg: DictConfig, key: str) -> bool:
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, group) if group else cfg
    return node is not None and name in node


def _check_teacher(teacher: DictConfig) -> None:
    if not OmegaConf.is_dict(teacher.soft) or set(teacher.soft) != {"top_k", "size"}:
        raise ValueError(
            f"teacher.soft={teacher.soft}; expected {{top_k: 3, size: [height, width]}}, or top_k 0 for none"
        )
    if teacher.soft.size is not None and not teacher.soft.top_k:
        raise ValueError("teacher.soft.size is set and teacher.soft.top_k is not; set top_k to the classes to keep")
    is_names = OmegaConf.is_list(teacher.label_set) and all(isinstance(name, str) for name in teacher.label_set)
    if not (teacher.label_set is None or isinstance(teacher.label_set, str) or is_names):
        raise ValueError(f"teacher.label_set={teacher.label_set}; expected the name of a label set, or a list of names")
