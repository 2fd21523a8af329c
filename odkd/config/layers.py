"""Composition in layers: whoever chooses a file of a group last begins the group anew.

The layers, lowest first: the defaults of conf/config.yaml, the studies in that file's order (experiment, baseline,
sweep, debug, numerics), the command line. Hydra lets the highest layer choose, but merges what all studies set into its
choice: with `experiment=camvid_online teacher=pspnet` the PSPNet would get name and weights of the experiment's
teacher. Here, what a study sets below a group counts only for a file that this study or a lower layer has chosen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.errors import HydraException
from omegaconf import OmegaConf

from odkd.common.dotted import flatten, is_in
from odkd.config.known import STUDIES
from odkd.config.permissions import PARAMS


@dataclass(frozen=True)
class LeftOut:
    """A setting of a study that does not count, because a higher layer has chosen the file of its group.

    Args:
        study: the study that sets it, such as experiment=camvid_online.
        chosen: the choice that counts, such as teacher=pspnet.
        key: its dotted key.
    """

    study: str
    chosen: str
    key: str


def is_study(item: ResultDefault) -> bool:
    """True if a file is a study: it can set any key, or should."""
    return not item.primary and (item.package == "" or group_of(item) in STUDIES)


def group_of(item: ResultDefault) -> str:
    """Return the first part of a file's path: "experiment" of experiment/continual/camvid."""
    return str(item.config_path).partition("/")[0]


def title_of(item: ResultDefault, choices: Overrides) -> str:
    """Return the study that a file belongs to, as on the command line: "experiment=continual/camvid"."""
    group, _, name = str(item.config_path).partition("/")
    return f"{group}={choices.known_choices.get(group) or name}"


def check_headers(defaults: Sequence[ResultDefault]) -> None:
    """Check that studies set keys of the root.

    Raises:
        HydraException: one sets keys below its own name, where nothing reads them.
    """
    for item in defaults:
        if group_of(item) in STUDIES and item.package != "":
            raise HydraException(
                f"{item.config_path}.yaml sets keys below {item.package}., where nothing reads them; "
                "its first line must be  # @package _global_"
            )


def check_baseline(defaults: Sequence[ResultDefault], choices: Overrides, repo: IConfigRepository) -> None:
    """Check that the baseline has the files that it chooses, and that their groups have the keys that it sets.

    Raises:
        HydraException: the command, or another study, has chosen a file with which the baseline is none.
    """
    for item in defaults:
        if group_of(item) != "baseline":
            continue
        title, loaded = title_of(item, choices), repo.load_config(config_path=str(item.config_path))
        assert loaded is not None
        for own in loaded.defaults_list or ():
            if isinstance(own, GroupDefault) and own.override:
                group = str(own.group).lstrip("/")
                if (now := choices.known_choices.get(group)) != own.value:
                    raise HydraException(
                        f"{title} needs {group}={own.value}, and {group}={now} is chosen; leave out one of the two"
                    )
        settings: Any = OmegaConf.to_container(loaded.config)
        for group, node in settings.items():
            known = own_keys(group, defaults, repo)
            if known and (unknown := [key for key in node if key not in known]):
                raise HydraException(
                    f"{title} sets {group}.{unknown[0]}, which {group}={choices.known_choices.get(group)} does not "
                    "have; leave out one of the two"
                )


def own_keys(package: str, defaults: Sequence[ResultDefault], repo: IConfigRepository) -> set[str]:
    """Return the keys that the chosen file of a group has, with those that it includes and those of every choice."""
    files = [repo.load_config(config_path=str(item.config_path)) for item in defaults if item.package == package]
    nodes: list[Any] = [file.config for file in files if file is not None]
    root = next((repo.load_config(config_path=str(item.config_path)) for item in defaults if item.primary), None)
    nodes += [] if root is None else [OmegaConf.select(root.config, package)] if package else []
    return {str(key) for node in nodes if OmegaConf.is_dict(node) for key in node}


def begin_anew(defaults: Sequence[ResultDefault], choices: Overrides, repo: IConfigRepository) -> Iterator[LeftOut]:
    """Take out of the loaded studies what they set below a group that a higher layer has chosen; yield what it is."""
    last = {str(item.config_path): number for number, item in enumerate(defaults)}  # where a file counts
    for group, height in heights(defaults, choices).items():
        package = next((str(item.package) for item in defaults if item.override_key == group), group.replace("/", "."))
        meta, known = choices.override_metadata.get(group), own_keys(package, defaults, repo)
        for path, number in last.items() if package else ():
            item = defaults[number]
            is_chooser = meta is not None and path == meta.containing_config_path and group not in choices.deletions
            if number > height or is_chooser or path.startswith(f"{group}/") or not is_study(item):
                continue
            loaded = repo.load_config(config_path=path)
            assert loaded is not None
            # A baseline is what it sets, and it fits (`check_baseline`). A file of conf/sweep is what it varies.
            of_sweeper = [PARAMS] if package == "hydra.sweeper" else []
            kept = {"baseline": [package], "sweep": [PARAMS]}.get(group_of(item), of_sweeper)
            settings, keys = without(OmegaConf.to_container(loaded.config), [package, f"{PARAMS}.{package}"], kept)
            if not keys:
                continue
            loaded.config = OmegaConf.create(settings)
            places = tuple(f"{place}.{name}" for place in (package, f"{PARAMS}.{package}") for name in known)
            chooser = meta.containing_config_path if meta is not None and not meta.external_override else None
            above = [defaults[place] for other, place in last.items() if place > height or other == chooser]
            again = {key for one in above if is_study(one) for key in _keys_of(one, repo)}
            for key in keys:  # nobody misses what the chosen file does not have, or what the chooser sets itself
                if is_in(key, places) and key not in again:
                    yield LeftOut(title_of(item, choices), f"{group}={choices.known_choices.get(group)}", key)


def _keys_of(item: ResultDefault, repo: IConfigRepository) -> set[str]:
    """Return the dotted keys that a file sets."""
    loaded = repo.load_config(config_path=str(item.config_path))
    return set() if loaded is None else set(flatten(OmegaConf.to_container(loaded.config)))


def heights(defaults: Sequence[ResultDefault], choices: Overrides) -> dict[str, int]:
    """Return for each group that was chosen above config.yaml the number of the last file below that choice.

    What the command line chooses is above all files. A study is above the files that it includes.
    """
    parents = {str(item.config_path): item.parent for item in defaults}
    found = {str(item.group): len(defaults) for item in choices.append_group_defaults}
    for group, meta in choices.override_metadata.items():
        included = [
            number for number, item in enumerate(defaults) if meta.containing_config_path in line(item, parents)
        ]
        found[group] = len(defaults) if meta.external_override else max(included, default=-1)
    found |= dict.fromkeys(choices.deletions, len(defaults))
    # `hydra=NAME` chooses what no study sets; launchers and sweepers are groups of their own.
    return {group: height for group, height in found.items() if group not in (*STUDIES, "hydra")}


def line(item: ResultDefault, parents: Mapping[str, str | None]) -> list[str]:
    """Return the path of a file, of the file that includes it, and so on."""
    found: list[str] = []
    path = item.config_path
    while path is not None and path not in found:
        found.append(path)
        path = parents.get(path)
    return found


def without(settings: Any, lost: Sequence[str], kept: Sequence[str], prefix: str = "") -> tuple[Any, list[str]]:
    """Return settings without those of the places `lost` that are not of the places `kept`, and the keys taken out.

    >>> without({"teacher": {"name": "fpn"}, "seed": 1}, ["teacher"], [])
    ({'seed': 1}, ['teacher.name'])
    """
    if not isinstance(settings, Mapping):
        return settings, []
    rest, taken = {}, []
    for name, value in settings.items():
        key = f"{prefix}{str(name).lstrip('+~')}"
        inside, keys = without(value, lost, kept, f"{key}.")
        is_lost = is_in(key, lost) and not is_in(key, kept)
        if not (is_lost and (not isinstance(value, Mapping) or not inside)):
            rest[name] = inside
        taken += keys or ([key] if is_lost and name not in rest else [])
    return rest, taken
