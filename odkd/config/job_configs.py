"""Configs of a sweep's jobs: files are read and merged once for each choice of files, values are set for each job."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

Compose = Callable[[list[str]], tuple[DictConfig, Any]]  # words -> composed config, and a note to keep beside it


@dataclass
class JobConfigs:
    """The configs of a sweep, by the words that choose files; a process that composes the next job starts from them.

    What Hydra composes for a job depends on its choices of files, and then it sets values: 0.15 s and 5 ms. All jobs
    see the files as they were when the first one with the same choices was composed.

    Args:
        is_group: whether a key names a group of files.
    """

    is_group: Callable[[str], bool]
    known: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def compose(self, words: Sequence[str], compose: Compose) -> tuple[DictConfig, Any]:
        """Return what `compose` would return for the words; it is called if their choices are new.

        Raises:
            OmegaConfBaseException: a value does not fit its key.
        """
        parsed = OverridesParser.create().parse_overrides(list(words))
        if any(word.get_key_element() == "hydra.searchpath" for word in parsed):  # further folders may have groups
            return compose(list(words))
        values = [word for word in parsed if self._is_value(word)]
        choices = tuple(str(word.input_line) for word in parsed if not self._is_value(word))
        if choices not in self.known:
            self.known[choices] = pickle.dumps(compose(list(choices)))
        cfg, note = pickle.loads(self.known[choices])
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        _describe(cfg, parsed)
        return cfg, note

    def _is_value(self, word: Override) -> bool:
        """True if a word sets a value below the root, as Hydra decides it; words about Hydra count as choices."""
        is_file = self.is_group(str(word.key_or_group)) and not isinstance(word.value(), dict)
        return not is_file and word.package is None and not word.is_hydra_override()


def _describe(cfg: DictConfig, parsed: Sequence[Override]) -> None:
    """Write into Hydra's own part of a config which words it was composed from."""
    of_job = [word for word in parsed if not word.is_hydra_override()]
    cfg.hydra.overrides.task = [word.input_line for word in of_job]
    cfg.hydra.runtime.cwd = str(Path.cwd())
    how = cfg.hydra.job.config.override_dirname
    cfg.hydra.job.override_dirname = get_overrides_dirname(
        overrides=of_job, kv_sep=how.kv_sep, item_sep=how.item_sep, exclude_keys=how.exclude_keys
    )
