"""The names that YAML files know: every setting with the choices of its group that have it, and every choice."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from odkd.common.dotted import flatten
from odkd.common.errors import PACKAGE
from odkd.common.yaml_files import load_config

HERE = Path(__file__).resolve().parent
# A wheel has the YAML files beside this file, a checkout has them beside the package.
CONF = HERE / "conf" if (HERE / "conf").is_dir() else PACKAGE.parent / "conf"
NAMES = {  # names that become parts of folder names -> the most bytes; a folder name has at most 255
    "run.name": 200,
    "stage.name": 40,
    "dataset.name": 60,
    "student.name": 60,
    "teacher.name": 60,
}
Names = dict[str, list[str]]
STUDIES = ("experiment", "baseline", "sweep", "debug", "numerics")  # groups whose files may set every key
PARTS = "parts"  # folders of files that others include; not choices


def known_groups(config_dir: str | None = None) -> Names:
    """Return each group with its choices: those of odkd and, with --config-dir, the user's own; no file is read.

    Choices in folders of a group are named with their folder: "mckd/camvid" of the group "experiment".
    """
    groups: Names = {}
    for conf in _folders(config_dir):
        for path in sorted(conf.rglob("*.yaml")):
            folder = path.parent.relative_to(conf)
            for group in (folder, *folder.parents):
                name = path.relative_to(conf / group).with_suffix("").as_posix()
                if group != Path() and PARTS not in Path(name).parts:
                    groups.setdefault(group.as_posix(), []).append(name)
    return groups


@functools.cache
def known_keys(config_dir: str | None = None) -> Names:
    """Return each dotted key, also those of tables, with the choices that have it; a key of no group has none."""
    keys: Names = {}
    for conf in _folders(config_dir):
        for path in sorted(conf.rglob("*.yaml")):
            folder = path.parent.relative_to(conf).parts
            if PARTS in folder or (folder and folder[0] in (*STUDIES, "hydra")):
                continue
            for key in dict.fromkeys(_with_tables(_keys(path, folder[0] if folder else ""), bool(folder))):
                keys.setdefault(key, []).extend([path.stem] if folder else [])
    return keys


@functools.cache
def known_tables() -> dict[str, bool]:
    """Return the dotted keys that hold settings in every file of odkd that has them; and whether one has null there."""
    tables: dict[str, bool] = {}
    values: dict[str, set[str]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        folder = path.parent.relative_to(CONF).parts
        if PARTS not in folder and not (folder and folder[0] in (*STUDIES, "hydra")):
            for key, value in _settings(path, folder[0] if folder else ""):
                values.setdefault(key, set()).add(value)
    for key in values:
        parts = key.split(".")
        for end, name in enumerate(parts[1:], 1):
            table = ".".join(parts[:end])
            if name.isidentifier() and values.get(table, set()) <= {"None"}:  # a pattern is no name of a setting
                tables[table] = "None" in values.get(table, ())
    return tables


def _folders(config_dir: str | None) -> list[Path]:
    return [CONF] if config_dir is None else [CONF, Path(config_dir)]


def _with_tables(keys: Iterator[str], is_in_group: bool) -> Iterator[str]:
    """Yield each key and the tables that it lies in; the group itself is none of them."""
    for key in keys:
        parts = key.split(".")
        yield from (".".join(parts[:end]) for end in range(2 if is_in_group else 1, len(parts) + 1))


def _keys(path: Path, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of a file and of the files of its group that it includes."""
    yield from (key for key, _ in _settings(path, prefix))


def _settings(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted keys of a file, and of the files of its group that it includes, with their values as text."""
    if not path.is_file():
        return
    loaded = OmegaConf.load(path) if path.is_relative_to(CONF) else load_config(path, may_refer=True)
    content: Any = OmegaConf.to_container(loaded)
    if not isinstance(content, dict):
        return
    for entry in content.pop("defaults", []):
        if prefix and isinstance(entry, str) and entry != "_self_":
            name, _, package = entry.partition("@")
            inner = prefix if package in ("", "_here_") else f"{prefix}.{package}"
            yield from _settings(path.parent / f"{name}.yaml", inner)
    yield from flatten(content, prefix).items()
