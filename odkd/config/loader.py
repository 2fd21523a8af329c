"""Hydra's loader with the layers of `config/layers.py`; it composes the jobs of a sweep fast."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import hydra._internal.hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ResultDefault
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.common.dotted import split_override
from odkd.config import composition
from odkd.config.job_configs import JobConfigs
from odkd.config.layers import LeftOut, begin_anew, check_baseline, check_headers, is_study
from odkd.config.permissions import PARAMS, check_file, check_given, check_plugins, is_trusted
from odkd.config.words import without_effect

NOTHING = ("false", "False", "[]", "null")  # values of a word that permits nothing


class LayeredLoader(ConfigLoaderImpl):
    """Hydra's loader, with layers; `left_out` tells what does not count in the config that was composed last."""

    left_out: tuple[LeftOut, ...] = ()
    asked: tuple[str | None, list[str], RunMode] = (None, [], RunMode.RUN)
    jobs: JobConfigs | None = None

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the config of a job of a sweep; raise what `load_configuration` raises."""
        name = master_config.hydra.job.config_name
        self.jobs = self.jobs or JobConfigs(self.repository.group_exists)

        def compose(words: list[str]) -> tuple[DictConfig, tuple[LeftOut, ...]]:
            self.asked, self.left_out = (name, words, RunMode.RUN), ()
            return super(LayeredLoader, self).load_configuration(name, words, RunMode.RUN), self.left_out

        words = [*master_config.hydra.overrides.hydra, *sweep_overrides]
        try:
            cfg, left_out = self.jobs.compose(words, compose)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException().with_traceback(error.__traceback__) from error
        self.asked, self.left_out = (name, words, RunMode.RUN), left_out
        check_words(cfg, words)
        OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
        return cfg

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs; it composes its jobs anew."""
        return self.__dict__ | {"jobs": None}

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *args: Any, **kwargs: Any
    ) -> DictConfig:
        """Return the composed config of a command.

        Raises:
            HydraException: a mistake in the command or in a file, or a choice that contradicts the baseline.
        """
        self.asked, self.left_out = (config_name, overrides, run_mode), ()
        cfg = super().load_configuration(config_name, overrides, run_mode, *args, **kwargs)
        check_words(cfg, overrides)
        return cfg

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        for item in defaults:
            if item.config_path is not None and ".." in PurePosixPath(item.config_path).parts:
                raise ConfigCompositionException(f"{item.config_path}: a file is named within its group, without ..")
            loaded = repo.load_config(config_path=item.config_path) if item.config_path is not None else None
            if loaded is not None and not is_trusted(loaded.path):
                content = OmegaConf.to_container(loaded.config)
                check_file(loaded.path, str(item.config_path), content, str(item.package))
        if any(is_study(item) for item in defaults):
            choices = repo.choices  # type: ignore[attr-defined]  # `composition` has noted them
            check_headers(defaults)
            check_baseline(defaults, choices, repo)
            self.left_out = tuple(begin_anew(defaults, choices, repo))
        return super()._compose_config_from_defaults_list(defaults, repo)


def check_words(cfg: DictConfig, words: Sequence[str]) -> None:
    """Check that no file gives a permission, or chooses a plugin, that the words of a command must give."""
    given = [split_override(word) for word in words]
    keys = [key for key, _ in given]
    check_given(cfg, [key for key, value in given if value not in NOTHING])
    check_plugins(cfg, keys)


def install() -> None:
    """Have Hydra compose in layers: its command, its `compose`, its sweeps. It has no public place for a loader."""
    composition.install()
    hydra._internal.hydra.ConfigLoaderImpl = LayeredLoader  # type: ignore[attr-defined]


def left_out_by(loader: ConfigLoader, *, is_sweep: bool) -> list[str]:
    """Return a line for each choice and study: the settings that a loader left out; in a run, not those of sweeps.

    The words of a run that a later one replaces come first.
    """
    found = [item for item in getattr(loader, "left_out", ()) if is_sweep or not item.key.startswith(PARAMS)]
    lines = [] if is_sweep else without_effect(getattr(loader, "asked", (None, []))[1])
    for (chosen, study), items in groupby(found, lambda item: (item.chosen, item.study)):
        keys = ", ".join(dict.fromkeys(item.key.removeprefix(f"{PARAMS}.") for item in items))
        lines.append(f"{chosen} is as its file has it, without {keys} of {study}; give those that you want to keep")
    return lines
