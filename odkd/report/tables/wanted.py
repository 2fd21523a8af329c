"""Find the stored runs that a command would repeat, by their settings and never by their names.

A run in MLflow has every setting, or only those that differ from odkd's defaults; either way it is reduced to the
differing ones, and so is the wanted configuration. They match if both are equal. A file is compared by its content if
both sides know it, else by its path as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from odkd.common.dotted import (
    NOT_IN_DATASET,
    NOT_IN_LIVE,
    NOT_IN_STAGE,
    NOT_OF_THE_TEACHER,
    OF_THE_MAPPING,
    WHERE_AND_HOW,
    flatten,
    is_in,
)
from odkd.common.reading import parse_json
from odkd.config.compose import compose_table_config
from odkd.config.identity import digests_of_files
from odkd.config.known import CONF
from odkd.config.params import short_classes
from odkd.config.plain import TIMED
from odkd.runs.mlflow_keys import keys_in_mlflow
from odkd.runs.mlflow_store import StoredRun

# These settings change no number of a run, or only its last bits. They include all settings that are not in a run's
# key: a run that differs only in those counts as finished before. How a dataset is made is not in the key, because
# the content of its videos is; here it matters.
NO_MATTER = (
    *WHERE_AND_HOW,
    *("device", "threads", "compile", "deterministic", "stage.always", "stage.is_shared", "hydra"),
    *(f"dataset.{key}" for key in NOT_IN_DATASET if key != "prepare"),
    "dataset.prepare.folder",
    *(f"stage.{key}" for key in (*NOT_IN_STAGE, *NOT_IN_LIVE)),
    *(f"teacher.{key}" for key in NOT_OF_THE_TEACHER if key not in OF_THE_MAPPING),
)
# What runs from before these settings had a default other than "auto" computed with. Later runs say what they chose.
NUMERICS = {"precision": "float32", "channels_last": "False", "fast_forms": "False"}
CLASSES = "dataset.classes"  # older runs lack this param: they may have any classes
LONGEST = 6000  # characters of a value that MLflow keeps


@dataclass(frozen=True)
class WantedRun:
    """A run that a table needs: `odkd OVERRIDES seed=SEED`, optionally with a folder of user-defined YAML."""

    overrides: tuple[str, ...]
    seed: int
    config_dir: str | None = None

    @property
    def command(self) -> list[str]:
        return [*self.overrides, f"seed={self.seed}"]


@dataclass(frozen=True)
class Settings:
    """The settings that determine a run's numbers: `values` that differ from odkd's defaults, digests of `files`.

    `classes` is None if the run does not record them; `root` is the folder of its data, which does not matter.
    """

    values: Mapping[str, str]
    files: Mapping[str, str]
    classes: str | None
    root: str | None = None

    def is_as(self, other: Settings) -> bool:
        """True if both give the same numbers, as far as both are known. `auto` stands for any of its values."""
        if self.classes != other.classes and None not in (self.classes, other.classes):
            return False
        return all(self._is_same(key, other) for key in {**self.values, **other.values})

    def untold(self, other: Settings) -> list[str]:
        """Return the settings in which the two differ although a run may match both."""
        is_other = {"dataset.root": self.root != other.root, CLASSES: self.classes != other.classes}
        return [key for key, differs in is_other.items() if differs]

    def _is_same(self, key: str, other: Settings) -> bool:
        values = (self._value(key, other), other._value(key, self))
        return values[0] == values[1] or (key in NUMERICS and "auto" in values)

    def _value(self, key: str, other: Settings) -> str | None:
        is_known = key in self.files and key in other.files
        return self.files[key] if is_known else self.values.get(key)


def join(*parts: Iterable[str]) -> tuple[str, ...]:
    """Join overrides of several sources; a later one replaces an earlier one with the same key, in its place.

    >>> join(["replay=fifo", "window.learn=20"], ["replay=mir"], ["seed=1"])
    ('replay=mir', 'window.learn=20', 'seed=1')
    """
    return tuple({override.partition("=")[0]: override for part in parts for override in part}.values())


class Matcher:
    """A search for the runs of a store that have exactly the settings of a job."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self.runs: dict[str | None, list[tuple[Settings, StoredRun]]] = {}
        for run in runs:
            known = settings_of(run)
            self.runs.setdefault(known.values.get("seed"), []).append((known, run))

    def find(self, job: WantedRun) -> list[StoredRun]:
        """Return runs of any status, newest first; of a run that is stored twice under one key, only the newer one."""
        wanted = wanted_settings(job)
        found: dict[str, StoredRun] = {}
        for known, run in self.runs.get(wanted.values.get("seed"), []):
            if known.is_as(wanted):
                found.setdefault(run.key, run)
        return list(found.values())


def settings_of(run: StoredRun) -> Settings:
    """Return the settings of a stored run."""
    try:
        files: dict[str, str] = parse_json(run.tags.get("odkd.file_digests", "{}"), dict[str, str], what="the tag")
    except ValueError:  # longer than MLflow keeps of a tag, or damaged
        files = {}
    return _settings(NUMERICS | dict(run.params), files)


@cache
def wanted_settings(job: WantedRun) -> Settings:
    """Return the settings of the run that a job would make.

    Raises:
        ValueError: a setting that has no default, such as the folder of the data, is not given.
    """
    cfg = _composed(job.overrides, job.config_dir).copy()
    cfg.seed = job.seed
    try:
        container: Any = OmegaConf.to_container(cfg, resolve=True)
    except InterpolationToMissingValueError as error:
        missing = str(error).partition("value: ")[2].split()[0]
        raise ValueError(f"{missing} is not set; add {missing}=... to the command") from error
    return _settings(flatten(container), digests_of_files(container, Path(cfg.paths.cache)))


def _settings(params: Mapping[str, str], files: Mapping[str, str]) -> Settings:
    values, default = clean(params), _default()
    classes = values.pop(CLASSES, None)
    # A setting that plain odkd lacks and that is None is not set: runs from before it do not have it at all.
    differing = {key: value for key, value in values.items() if default.get(key, "None") != value or key in NUMERICS}
    if differing.get("stage.uses_teacher") == "False":  # the key has only the mapping of its classes
        kept = tuple(f"teacher.{key}" for key in OF_THE_MAPPING)
        differing = {key: value for key, value in differing.items() if not is_in(key, ["teacher"]) or is_in(key, kept)}
    if not any(is_in(key, TIMED) for key in differing):
        differing.pop("dataset.seconds_per_frame", None)
    digests = {_name(key): value for key, value in files.items()}
    return Settings(differing, digests, classes and short_classes(classes), params.get("dataset.root"))


def clean(params: Mapping[str, str]) -> dict[str, str]:
    """Return params with comparable names and values, without those that change no number.

    The names of chosen YAML files are removed too: the settings in these files are compared.
    """
    groups = _groups()
    keys = keys_in_mlflow(params)  # MLflow has these already
    return {
        _name(keys[key]): value[:LONGEST]
        for key, value in params.items()
        if key not in groups and not is_in(key, NO_MATTER)
    }


def _name(key: str) -> str:
    return re.sub(r"[^\w.]", "_", key)


@cache
def _groups() -> frozenset[str]:
    return frozenset(path.name for path in CONF.iterdir() if path.is_dir())


@cache
def _default() -> Mapping[str, str]:
    container: Any = OmegaConf.to_container(_composed(()), resolve=True)
    return clean(flatten(container))


@cache
def _composed(overrides: tuple[str, ...], config_dir: str | None = None) -> DictConfig:
    return compose_table_config(overrides, config_dir)
