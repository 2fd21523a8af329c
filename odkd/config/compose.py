"""Compose configs outside the `odkd` command (scripts, tools, tests), and complete every config."""

import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.common.dotted import flatten
from odkd.common.errors import PACKAGE
from odkd.common.files import with_home
from odkd.common.renamed import current_config
from odkd.config.layers import STUDIES, install
from odkd.config.messages import explain
from odkd.config.words import read_settings
from odkd.data.labels.sets import label_set

HERE = Path(__file__).resolve().parent
# A wheel has the YAML files beside this file, a checkout has them beside the package.
CONF = HERE / "conf" if (HERE / "conf").is_dir() else PACKAGE.parent / "conf"
install()


def compose_config(overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """Return the config that `odkd --config-dir CONFIG_DIR OVERRIDES` would run; also while Hydra runs a job.

    Raises:
        ValueError: an override that cannot be read.
        HydraException: an unknown setting or choice.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", [*_search_path(config_dir), *read_settings(overrides, known_groups(), known_keys)])
    finally:
        GlobalHydra.instance().hydra = running


def _search_path(config_dir: str | None) -> list[str]:
    """Return --config-dir as an override: a folder of user-defined groups beside those of odkd."""
    if config_dir is None:
        return []
    place = f"file://{Path(config_dir).resolve()}".replace("'", r"\'")
    return [f"hydra.searchpath=['{place}']"]


def default_config() -> DictConfig:
    """Return the completed config of a plain `odkd`, without overrides."""
    return complete(compose_config([]))


@functools.cache
def default_values() -> Mapping[str, str]:
    """Return the settings of a plain `odkd`, by dotted key, as text."""
    return flatten(OmegaConf.to_container(default_config(), resolve=True))


def compose_table_config(overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """Return the complete config of a run that a table asks for.

    Raises:
        ValueError: an unknown setting, choice or folder, or overrides that cannot be parsed.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ValueError(
            f"--config-dir {config_dir}: no such folder; expected one with YAML files, such as my_conf/replay"
        )
    try:
        return complete(compose_config(overrides, config_dir))
    except (HydraException, OmegaConfBaseException) as error:
        groups: dict[str, list[str]] = {}
        for conf in [CONF] if config_dir is None else [CONF, Path(config_dir)]:
            for folder in conf.iterdir():
                groups.setdefault(folder.name, []).extend(sorted(file.stem for file in folder.glob("*.yaml")))
        keys = flatten(OmegaConf.to_container(compose_config([])))
        hint = (
            "; if it is your own, name the folder of your YAML files with --config-dir"
            if _is_unknown_choice(error)
            else ""
        )
        message = explain(error, keys, groups) or str(error).splitlines()[0]
        raise ValueError(message + (hint if config_dir is None else "")) from error


def _is_unknown_choice(error: Exception) -> bool:
    return "Could not find '" in str(error)


def complete(cfg: DictConfig) -> DictConfig:
    """Return the config with the settings that every teacher and dataset has, also where its YAML leaves them out.

    If `dataset.classes` names a label set, it becomes the list of its classes, and `dataset.palette` its colours.
    Classes and settings of earlier versions get the names of today, and ~ at the start of a path is the home folder.

    Raises:
        ValueError: an unknown label set.
    """
    is_struct = OmegaConf.is_struct(cfg)
    cfg = OmegaConf.create(with_home(current_config(OmegaConf.to_container(cfg))))
    OmegaConf.set_struct(cfg, is_struct)
    common = OmegaConf.load(CONF / "teacher" / "parts" / "common.yaml")
    cfg.teacher = OmegaConf.merge(common, cfg.teacher)
    order = OmegaConf.load(CONF / "dataset" / "parts" / "order.yaml")
    cfg.dataset = OmegaConf.merge(order, {"domains": {}}, cfg.dataset)
    if isinstance(cfg.dataset.classes, str):
        try:
            chosen = label_set(cfg.dataset.classes)
        except ValueError as error:
            raise ValueError(
                f"dataset.classes={cfg.dataset.classes}: {error}; or give a list of names: [road,car]"
            ) from error
        cfg.dataset.classes = list(chosen.classes)
        cfg.dataset.palette = cfg.dataset.palette or [list(colour) for colour in chosen.palette]
    return cfg


def config_dir() -> str | None:
    """Return the folder given with --config-dir, relative to the working folder if it lies below it, or None."""
    if not HydraConfig.initialized():
        return None
    sources = HydraConfig.get().runtime.config_sources
    found = next((Path(source.path) for source in sources if source.provider == "command-line"), None)
    if found is None:
        return None
    return str(found.relative_to(Path.cwd())) if found.is_relative_to(Path.cwd()) else str(found)


def command_with(group: str, choice: str) -> str:
    """Return the current command with another choice of one group; outside Hydra, only that choice."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    own = ["--config-dir", folder] if (folder := config_dir()) is not None else []
    return shlex.join(
        ["odkd", *own, f"{group}={choice}", *(word for word in given if not word.startswith(f"{group}="))]
    )


@functools.cache
def known_groups() -> dict[str, list[str]]:
    """Return every group with its choices."""
    folders = [path for path in sorted(CONF.rglob("*")) if path.is_dir()]
    return {str(path.relative_to(CONF)): sorted(file.stem for file in path.glob("*.yaml")) for path in folders}


@functools.cache
def known_keys() -> list[str]:
    """Return every dotted key of the YAML files, also those of tables, which have keys below them."""
    keys: dict[str, None] = {}
    chosen = [CONF / group / f"{name}.yaml" for group, names in known_groups().items() for name in names]
    for path in [CONF / "config.yaml", *chosen]:
        if path.relative_to(CONF).parts[0] in (*STUDIES, "hydra"):
            continue
        prefix = "" if path.parent == CONF else path.relative_to(CONF).parts[0]
        for key in flatten(OmegaConf.to_container(OmegaConf.load(path)), prefix):
            parts = key.split(".")
            keys |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1) if "defaults" not in parts)
    return list(keys)
