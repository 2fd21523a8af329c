"""Which stored run is the one that a command would make: compared by settings, never by names.

A run in MLflow has every setting, or only those that differ from odkd's defaults; either way it is reduced to
those that differ, and so is the configuration that is wanted. They match if the two are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from odkd.compose import CONF, compose_table_config
from odkd.dotted import WHERE_AND_HOW, flatten, is_in
from odkd.results import StoredRun

# These change no number of a run, or no more than its last bits.
NO_MATTER = (
    *WHERE_AND_HOW, "device", "threads", "compile", "deterministic", "dataset.root", "dataset.palette",
    "dataset.download", "dataset.frame_store", "dataset.prepare._target_", "dataset.prepare.folder",
    "teacher.batch_size", "teacher.licence", "teacher.source", "stage.always", "stage.is_shared", "hydra",
)  # fmt: skip
# A store may leave these out of a run's params; they count where it has them.
IF_THERE = ("dataset.classes",)
LONGEST = 6000  # characters that MLflow keeps of a value

Settings = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Job:
    """One run that a table needs: `odkd OVERRIDES seed=SEED`, with a folder of one's own YAML or without."""

    overrides: tuple[str, ...]
    seed: int
    config_dir: str | None = None

    @property
    def command(self) -> list[str]:
        return [*self.overrides, f"seed={self.seed}"]


def join(*parts: Iterable[str]) -> tuple[str, ...]:
    """Overrides of several places as one command; a later one of the same key replaces an earlier one.

    >>> join(["replay=fifo", "window.learn=20"], ["replay=mir"], ["seed=1"])
    ('replay=mir', 'window.learn=20', 'seed=1')
    """
    return tuple({override.partition("=")[0]: override for part in parts for override in part}.values())


class Matcher:
    """Finds the finished runs of a store that have exactly the settings of a job."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self.runs: dict[Settings, list[StoredRun]] = {}
        for run in runs:
            self.runs.setdefault(differing(run.params), []).append(run)

    def find(self, job: Job) -> list[StoredRun]:
        """Runs of any status, newest first; of a run that is stored twice under one key, the newer one."""
        wanted = wanted_params(job)
        found: dict[str, StoredRun] = {}
        for run in self.runs.get(differing(wanted), []):
            if all(wanted.get(key) == value for key, value in clean(run.params).items() if is_in(key, IF_THERE)):
                found.setdefault(run.key, run)
        return list(found.values())


def wanted_params(job: Job) -> dict[str, str]:
    """All settings of the run that a job would make, as a store would have them."""
    return _composed(job.overrides, job.config_dir) | {"seed": str(job.seed)}


def differing(params: Mapping[str, str]) -> Settings:
    """The settings that differ from odkd's defaults and change numbers."""
    default = _composed(())
    known = clean(params).items()
    return frozenset((key, value) for key, value in known if default.get(key) != value and not is_in(key, IF_THERE))


def clean(params: Mapping[str, str]) -> dict[str, str]:
    """Params under comparable names and values, without those that change no number.

    Files are known by their names, whatever folder they lie in; names of chosen YAML files say nothing beyond
    the settings in them.
    """
    groups = _groups()
    return {
        re.sub(r"[^\w.]", "_", key): value[:LONGEST].rpartition("/")[2]
        for key, value in params.items()
        if key not in groups and not is_in(key, NO_MATTER)
    }


@cache
def _groups() -> frozenset[str]:
    return frozenset(path.name for path in CONF.iterdir() if path.is_dir())


@cache
def _composed(overrides: tuple[str, ...], config_dir: str | None = None) -> dict[str, str]:
    container: Any = OmegaConf.to_container(compose_table_config(overrides, config_dir), resolve=True)
    return clean(flatten(container))
