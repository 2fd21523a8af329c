"""Which stored run is the one that a command would make: compared by settings, never by names.

A run in MLflow has every setting, or only those that differ from odkd's defaults; either way it is reduced to
those that differ, and so is the configuration that is wanted. They match if the two are equal; a file counts by its
content where both sides know it, else by its path as it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import (
    NOT_IN_DATASET,
    NOT_IN_STAGE,
    NOT_OF_THE_TEACHER,
    OF_THE_MAPPING,
    WHERE_AND_HOW,
    flatten,
    is_in,
)
from odkd.config.compose import CONF, compose_table_config
from odkd.config.identity import digests_of_files
from odkd.config.params import short_classes
from odkd.runs.store import StoredRun

# These change no number of a run, or no more than its last bits. What is not in a run's key is among them: a run that
# differs by nothing else has finished before. How a dataset is made is not in the key, but the videos' content is.
NO_MATTER = (
    *WHERE_AND_HOW, "device", "threads", "compile", "deterministic", "stage.always", "stage.is_shared", "hydra",
    *(f"dataset.{key}" for key in NOT_IN_DATASET if key != "prepare"),
    "dataset.prepare.folder",
    *(f"stage.{key}" for key in NOT_IN_STAGE),
    *(f"teacher.{key}" for key in NOT_OF_THE_TEACHER if key not in OF_THE_MAPPING),
)  # fmt: skip
CLASSES = "dataset.classes"  # older runs have no such param: they may be of any
LONGEST = 6000  # characters that MLflow keeps of a value


@dataclass(frozen=True)
class WantedRun:
    """One run that a table needs: `odkd OVERRIDES seed=SEED`, with a folder of one's own YAML or without."""

    overrides: tuple[str, ...]
    seed: int
    config_dir: str | None = None

    @property
    def command(self) -> list[str]:
        return [*self.overrides, f"seed={self.seed}"]


@dataclass(frozen=True)
class Settings:
    """What makes a run's numbers: settings that differ from odkd's defaults, digests of the files that some name.

    `classes` is None of a run that does not say them; `root` is where its data lay, which does not matter.
    """

    values: Mapping[str, str]
    files: Mapping[str, str]
    classes: str | None
    root: str | None = None

    def is_as(self, other: Settings) -> bool:
        """Whether they make the same numbers, as far as both sides are known."""
        if self.classes != other.classes and None not in (self.classes, other.classes):
            return False
        return all(self._value(key, other) == other._value(key, self) for key in {**self.values, **other.values})

    def untold(self, other: Settings) -> list[str]:
        """What differs between two that one run may be as."""
        is_other = {"dataset.root": self.root != other.root, CLASSES: self.classes != other.classes}
        return [key for key, differs in is_other.items() if differs]

    def _value(self, key: str, other: Settings) -> str | None:
        is_known = key in self.files and key in other.files
        return self.files[key] if is_known else self.values.get(key)


def join(*parts: Iterable[str]) -> tuple[str, ...]:
    """Overrides of several places as one command; a later one of the same key replaces an earlier one.

    >>> join(["replay=fifo", "window.learn=20"], ["replay=mir"], ["seed=1"])
    ('replay=mir', 'window.learn=20', 'seed=1')
    """
    return tuple({override.partition("=")[0]: override for part in parts for override in part}.values())


class Matcher:
    """Finds the runs of a store that have exactly the settings of a job."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self.runs: dict[str | None, list[tuple[Settings, StoredRun]]] = {}
        for run in runs:
            known = settings_of(run)
            self.runs.setdefault(known.values.get("seed"), []).append((known, run))

    def find(self, job: WantedRun) -> list[StoredRun]:
        """Runs of any status, newest first; of a run that is stored twice under one key, the newer one."""
        wanted = wanted_settings(job)
        found: dict[str, StoredRun] = {}
        for known, run in self.runs.get(wanted.values.get("seed"), []):
            if known.is_as(wanted):
                found.setdefault(run.key, run)
        return list(found.values())


def settings_of(run: StoredRun) -> Settings:
    """The settings of a stored run."""
    try:
        files: dict[str, str] = json.loads(run.tags.get("odkd.file_digests", "{}"))
    except ValueError:  # more of them than MLflow keeps of a tag
        files = {}
    return _settings(run.params, files)


@cache
def wanted_settings(job: WantedRun) -> Settings:
    """The settings of the run that a job would make."""
    cfg = _composed(job.overrides, job.config_dir).copy()
    cfg.seed = job.seed
    container: Any = OmegaConf.to_container(cfg, resolve=True)
    return _settings(flatten(container), digests_of_files(container, Path(cfg.paths.cache)))


def _settings(params: Mapping[str, str], files: Mapping[str, str]) -> Settings:
    values, default = clean(params), _default()
    classes = values.pop(CLASSES, None)
    differing = {key: value for key, value in values.items() if default.get(key) != value}
    if differing.get("stage.uses_teacher") == "False":  # only how its classes would be mapped is in the key
        kept = tuple(f"teacher.{key}" for key in OF_THE_MAPPING)
        differing = {key: value for key, value in differing.items() if not is_in(key, ["teacher"]) or is_in(key, kept)}
    digests = {_name(key): value for key, value in files.items()}
    return Settings(differing, digests, classes and short_classes(classes), params.get("dataset.root"))


def clean(params: Mapping[str, str]) -> dict[str, str]:
    """Params under comparable names and values, without those that change no number.

    Names of chosen YAML files say nothing beyond the settings in them.
    """
    groups = _groups()
    return {
        _name(key): value[:LONGEST] for key, value in params.items() if key not in groups and not is_in(key, NO_MATTER)
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
