"""Compose configs outside the `odkd` command (scripts, tools, tests), and complete every config."""

import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.common.dotted import flatten, setting, split_override
from odkd.common.files import with_home
from odkd.common.names import nearest
from odkd.common.renamed import current_config
from odkd.config.known import CONF, NAMES, known_groups, known_keys, known_tables
from odkd.config.loader import install
from odkd.config.members import expand
from odkd.config.messages import explain
from odkd.config.sources import install as install_sources
from odkd.config.words import read_settings
from odkd.data.labels.sets import label_set

install()
install_sources()


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
    return [setting("hydra.searchpath", [f"file://{Path(config_dir).resolve()}"])]


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
        return complete(compose_config(overrides, config_dir), config_dir)
    except (HydraException, OmegaConfBaseException) as error:
        hint = (
            "; if it is your own, name the folder of your YAML files with --config-dir"
            if _is_unknown_choice(error)
            else ""
        )
        message = explain(error, known_keys(config_dir), known_groups(config_dir))
        raise ValueError(message + (hint if config_dir is None else "")) from error


def _is_unknown_choice(error: Exception) -> bool:
    return "Could not find '" in str(error)


def complete(cfg: DictConfig, own_folder: str | None = None) -> DictConfig:
    """Return the config with the settings that every teacher and dataset has, also where its YAML leaves them out.

    If `dataset.classes` names a label set, it becomes the list of its classes, and `dataset.palette` its colours.
    Classes and settings of earlier versions get the names of today, and ~ at the start of a path is the home folder.
    A name that YAML reads as a number, such as `dataset.name=2024`, is a text.
    Members of an ensemble of teachers that are only named become settings; `own_folder` may have files of them.

    Raises:
        ValueError: an unknown label set or member, or a value where a table of settings belongs.
    """
    is_struct, given = OmegaConf.is_struct(cfg), OmegaConf.to_container(cfg)
    check_tables(given, cfg)
    cfg = OmegaConf.create(with_home(current_config(given)))
    OmegaConf.set_struct(cfg, is_struct)
    for key in NAMES:
        if type(number := OmegaConf.select(cfg, key)) in (int, float):
            OmegaConf.update(cfg, key, str(number))
    cfg.teacher = _whole_teacher(cfg.teacher, own_folder)
    if OmegaConf.is_dict(cfg.get("tracking")):
        cfg.tracking = OmegaConf.merge(_part("tracking", "common"), cfg.tracking)
    cfg.dataset = OmegaConf.merge(_part("dataset", "order"), {"domains": {}}, cfg.dataset)
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


def _whole_teacher(teacher: DictConfig, own_folder: str | None) -> DictConfig:
    """Return a teacher with the settings that every teacher has, and its members', if it is made of teachers."""
    folder = own_folder or config_dir()

    def read(name: str) -> Mapping[str, Any]:
        known = known_groups(folder)["teacher"]
        if name not in known:
            raise ValueError(f"there is no teacher={name}{nearest(name, known)} (known: {', '.join(known)})")
        composed: Any = OmegaConf.to_container(compose_config([f"teacher={name}"], folder).teacher)
        chosen: Mapping[str, Any] = current_config({"teacher": composed})["teacher"]
        return chosen

    common: Any = OmegaConf.to_container(_part("teacher", "common"))
    return OmegaConf.create(expand(OmegaConf.to_container(teacher), common, read))  # type: ignore[arg-type]


@functools.cache
def _part(group: str, name: str) -> DictConfig | ListConfig:
    """Return a file of odkd that other files of its group include."""
    return OmegaConf.load(CONF / group / "parts" / f"{name}.yaml")


def check_tables(settings: Any, cfg: DictConfig) -> None:
    """Check that no value stands where a table of settings belongs, such as `window=5` or `window=${seed}`.

    Args:
        settings: of `cfg`, as a plain value.

    Raises:
        ValueError: the first one.
    """
    for key, may_be_null in known_tables().items():
        node, *names = [settings, *key.split(".")]
        for name in names:
            node = node.get(name, {}) if isinstance(node, Mapping) else {}
        if isinstance(node, str) and node.startswith("${") and OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            continue
        if not isinstance(node, Mapping) and not (node is None and may_be_null):
            shown = "null" if node is None else node
            raise ValueError(f"{key}={shown}; expected settings of this table, {key}.NAME=VALUE (odkd --cfg job)")


def config_dir() -> str | None:
    """Return the folder given with --config-dir, relative to the working folder if it lies below it, or None."""
    if not HydraConfig.initialized():
        return None
    sources = HydraConfig.get().runtime.config_sources
    found = next((Path(source.path) for source in sources if source.provider == "command-line"), None)
    if found is None:
        return None
    return str(found.relative_to(Path.cwd())) if found.is_relative_to(Path.cwd()) else str(found)


def command_with(group: str, choice: str, *, without: Sequence[str] = ()) -> str:
    """Return the current command with another choice of a group, `without` some settings; outside Hydra, the choice."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    own = ["--config-dir", folder] if (folder := config_dir()) is not None else []
    kept = [word for word in given if split_override(word)[0] not in (group, *without)]
    return shlex.join(["odkd", *own, f"{group}={choice}", *kept])
