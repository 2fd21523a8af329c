"""Mistakes in a config, found before anything is computed; each is reported in one message.

Settings that every run has are typed in SETTINGS. Those of a method are typed by the constructor of its class, so a new
method needs no entry here.
"""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten, not_handed
from odkd.common.names import is_plain
from odkd.common.settings import (
    check_setting,
    parameter_types,
)
from odkd.config.check_answers import check_normalization
from odkd.config.check_dataset import check_dataset, expected_layout
from odkd.config.check_present import check_present
from odkd.config.check_relations import check_references, check_relations
from odkd.config.construct import OFFERED, check_keys, resolve
from odkd.config.features import check_features
from odkd.config.known import NAMES
from odkd.config.parts_tracking import tracking_of
from odkd.config.roles import check_allowed, check_name, class_nodes
from odkd.config.schema import SETTINGS, check_settings, check_values
from odkd.runs.mlflow_place import check_place

PATHS = ("outputs", "cache", "labels", "weights")
MAY_BE_NULL = ("run.name", "student.name")


def check_config(cfg: DictConfig) -> None:
    """Check types, ranges, choices, classes, files, and combinations of groups.

    Raises:
        ValueError: the first mistake: what we got, what we expected, what to change.
    """
    check_present(cfg)
    check_values(OmegaConf.to_container(cfg))
    missing = sorted(key for key, value in flatten(OmegaConf.to_container(cfg)).items() if value == "???")
    if missing:
        layout = f": {expected_layout(cfg.dataset, 'FOLDER')}" if missing[0] == "dataset.root" else ""
        raise ValueError(f"{missing[0]} is not set; add {missing[0]}=... to the command{layout}")
    check_references(cfg)
    check_allowed(cfg.allow_targets)
    check_settings(cfg, SETTINGS)
    _check_places(cfg)
    _check_teacher(cfg.teacher)
    check_methods(cfg)
    check_features(cfg)
    tracking_of(cfg)  # libraries are missing before a run, not at its end
    _check_images(cfg)
    check_dataset(cfg)
    check_relations(cfg)


def check_methods(cfg: DictConfig) -> None:
    """Check that each class that YAML names exists and may be named, and its settings against its constructor.

    Raises:
        ValueError: the first invalid class or setting.
    """
    allowed = list(cfg.allow_targets)
    nodes = dict(class_nodes(OmegaConf.to_container(cfg, resolve=True)))
    for path, node in nodes.items():
        check_name(str(node["_target_"]), path, allowed)  # of all, before a module of one is imported
    for path, node in nodes.items():
        target = resolve(node["_target_"], allowed, path)
        kinds = parameter_types(target)
        handed = [key for key in node if key not in not_handed(path) or key in kinds]
        check_keys(target, node["_target_"], handed, path)
        for name, value in node.items():
            is_offered = value is None and name in OFFERED  # `construct` supplies it
            if name in kinds and name not in not_handed(path) and not is_offered:
                check_setting(f"{path}.{name}", value, kinds[name])


def _check_places(cfg: DictConfig) -> None:
    for key, longest in NAMES.items():
        value = OmegaConf.select(cfg, key)
        if not (value is None and key in MAY_BE_NULL):
            _check_name(key, value, longest)
    for key in PATHS:
        if not (isinstance(cfg.paths[key], str) and cfg.paths[key]):
            raise ValueError(f"paths.{key}={cfg.paths[key]}; expected a folder")
        _check_writable(f"paths.{key}", Path(cfg.paths[key]))
    check_place(cfg)


def _check_name(key: str, name: Any, longest: int) -> None:
    """Check a name that becomes part of the name of a folder and of a run in MLflow."""
    if not (isinstance(name, str | int) and is_plain(str(name))) or isinstance(name, bool):
        shown = repr(name) if isinstance(name, str) and not (name.isprintable() and name) else name
        raise ValueError(
            f"{key}={shown}; expected a plain folder name of letters, digits, . + - and _, with one of "
            "the first two in front"
        )
    if (length := len(str(name).encode())) > longest:
        raise ValueError(f"{key}={str(name)[:20]}... is too long, {length} bytes; expected at most {longest}")


def _check_writable(key: str, folder: Path) -> None:
    """Check that a folder is there, or can be made. One that is there may be read-only, such as shared labels."""
    if any(len(part.encode()) > 255 for part in folder.parts) or "\0" in str(folder):
        raise ValueError(f"{key}={str(folder)[:40]!r}... has a name that is too long, or a NUL; choose another folder")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{key}={folder}: {there} is a file; choose another folder")
    is_writable = os.access(there, os.W_OK) and there.parts[:2] not in (("/", "proc"), ("/", "sys"))
    if not is_writable and (there != folder.absolute() or key == "paths.outputs"):
        raise ValueError(f"{key}={folder}: cannot write into {there}; choose another folder")


def _check_images(cfg: DictConfig) -> None:
    """Check how images are normalized, and which parameters of the student are frozen."""
    for group in ("student", "teacher"):
        check_normalization(group, cfg[group])
    patterns = cfg.student.get("freeze")
    if patterns is not None and not (OmegaConf.is_list(patterns) and all(isinstance(p, str) for p in patterns)):
        raise ValueError(f"student.freeze={patterns}; expected a list of parameter names, such as ['encoder.*']")


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
