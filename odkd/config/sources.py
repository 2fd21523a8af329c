"""The YAML files that Hydra composes: those of the user are checked for what they unfold to before they are built."""

import os
from pathlib import Path
from typing import Any

import hydra._internal.core_plugins.file_config_source as hydra_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from odkd.common.reading import DamagedFileError, read_bytes, shown
from odkd.common.references import refers_plainly
from odkd.common.yaml_files import MOST_YAML, check_yaml
from odkd.config.known import CONF


class FileConfigSource(hydra_source.FileConfigSource):
    """Hydra's source of files. It has the name of Hydra's own, which is how Hydra's registry knows it."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Load a file.

        Raises:
            DamagedFileError: it is no YAML, or holds too much, or its defaults call something (`${oc.env:NAME}`).
        """
        path = Path(os.path.realpath(Path(self.path) / self._normalize_file_name(config_path)))
        is_own = path.is_relative_to(CONF)
        if path.exists() and not is_own:
            check_yaml(read_bytes(path, MOST_YAML), path)
        loaded = super().load_config(config_path)
        content: Any = None if is_own else OmegaConf.to_container(loaded.config)
        if isinstance(content, dict) and not refers_plainly(str(content.get("defaults", ""))):
            raise DamagedFileError(f"{shown(path)}: its defaults call something (`${{...}}`); a file names its choices")
        return loaded


def install() -> None:
    """Have Hydra read files with this source; must be called before Hydra looks for its own."""
    SourcesRegistry.instance().types["file"] = FileConfigSource
