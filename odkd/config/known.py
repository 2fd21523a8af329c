"""The names that YAML files know: every setting with the choices of its group that have it, and every choice."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from odkd.common.dotted import flatten

Names = dict[str, list[str]]
GLOBAL = ("baseline", "experiment", "sweep", "debug", "hydra")  # groups whose files set keys of other groups
PARTS = "parts"  # folders of files that others include; not choices


def known_names(folders: Sequence[Path]) -> tuple[Names, Names]:
    """Return each dotted key with the choices that have it, and each group with its choices, below these folders.

    A key that belongs to no group has no choices. Choices in folders of a group are named with their folder:
    "mckd/camvid" of the group "experiment".
    """
    keys: Names = {}
    groups: Names = {}
    for conf in folders:
        for path in sorted(conf.rglob("*.yaml")):
            folder = path.parent.relative_to(conf)
            for group in (folder, *folder.parents):
                name = path.relative_to(conf / group).with_suffix("").as_posix()
                if group != Path() and PARTS not in Path(name).parts:
                    groups.setdefault(group.as_posix(), []).append(name)
            if not folder.parts:
                keys |= {key: [] for key in _keys(path, "")}
            elif folder.parts[0] not in GLOBAL and PARTS not in folder.parts:
                for key in dict.fromkeys(_keys(path, folder.parts[0])):
                    keys.setdefault(key, []).append(path.stem)
    return keys, groups


def _keys(path: Path, prefix: str) -> Iterator[str]:
    """Yield the dotted keys of a file and of the files of its group that it includes."""
    if not path.is_file():
        return
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(content, dict):
        return
    for entry in content.pop("defaults", []):
        if prefix and isinstance(entry, str) and entry != "_self_":
            name, _, package = entry.partition("@")
            inner = prefix if package in ("", "_here_") else f"{prefix}.{package}"
            yield from _keys(path.parent / f"{name}.yaml", inner)
    yield from flatten(content, prefix)
