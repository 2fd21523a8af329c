"""What only the command line may say: permissions, and what Hydra itself runs, writes and submits.

A YAML file may come from somebody else, a study in a shared folder for instance. It chooses settings; it must not
choose whose code runs. Files of odkd and of Hydra are trusted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten, is_in
from odkd.config.known import CONF
from odkd.config.roles import targets

PERMISSIONS = ("allow_targets", "teacher.trust")
OF_MEMBERS = re.compile(r"teacher(\.members\.[^.]+)+\.trust(\..*)?")  # the second one, of members of an ensemble
PARAMS = "hydra.sweeper.params"  # what a study varies, whichever sweeper does it
PLUGINS = ("hydra.launcher", "hydra.sweeper")  # what Hydra builds; each names a class of odkd's
OURS = "hydra_plugins.odkd_plugins"
MAY_BE_SET = (*PLUGINS, "hydra.mode")
COMMANDS = (
    "hydra.launcher.setup",
    "hydra.launcher.address",
)  # shell lines; a server that gets and gives pickled objects
SBATCH = "hydra.launcher.sbatch"
RESOURCES = (  # options of sbatch that ask for resources, and run nothing
    *("partition", "account", "qos", "constraint", "gres", "gpus", "time", "mem", "nodes", "nodelist", "exclude"),
    *("reservation", "comment", "nice", "licenses", "clusters"),
)


def permits(key: str) -> bool:
    """True if a key gives a permission.

    >>> permits("teacher.trust"), permits("teacher.members.a.trust"), permits("teacher.file")
    (True, True, False)
    """
    return is_in(key, PERMISSIONS) or OF_MEMBERS.fullmatch(key) is not None


def without_permissions(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return settings of a place without what gives a permission, at any depth."""
    kept = {key: value for key, value in settings.items() if not permits(f"{place}.{key}")}
    return {
        key: without_permissions(value, f"{place}.{key}") if isinstance(value, Mapping) else value
        for key, value in kept.items()
    }


def is_trusted(folder: str) -> bool:
    """True if the config files of a folder, as Hydra names it, are odkd's or Hydra's own."""
    return folder in (f"file://{CONF}", "structured://", "pkg://hydra.conf")


def check_file(folder: str, name: str, content: Any, package: str) -> None:
    """Check that a config file of the user's folder gives no permission and changes nothing that Hydra runs.

    Args:
        folder: where its groups lie, as Hydra names it.
        name: of the file, such as experiment/mine.
        content: its settings.
        package: where its keys go in the config; "" = the root.

    Raises:
        ValueError: it sets what only the command line may set.
    """
    settings = flatten({package: content} if package else content)
    for key, value in settings.items():
        reason = _reason(key.replace("+", "").replace("~", ""), value)
        if reason:
            raise ValueError(f"{folder.removeprefix('file://')}/{name}.yaml sets {key}={value}: {reason}")


def _reason(key: str, value: str) -> str:
    """Return why a file may not set a key; "" if it may."""
    inside = key.removeprefix(f"{PARAMS}.")
    if permits(inside) and value not in ("[]", "False", "None"):
        return f"only the command may permit that; add {inside}={value} to it, if you trust the code"
    if inside != key:
        return "a study does not vary what Hydra does" if is_in(inside, ["hydra"]) else ""
    if not is_in(key, ["hydra"]):
        return ""
    if is_in(key, COMMANDS) or not is_in(key, MAY_BE_SET):
        return "only the command may say what Hydra runs, connects to and writes; give it there"
    if is_in(key, [SBATCH]) and (key.removeprefix(f"{SBATCH}.") not in RESOURCES or not value.isprintable()):
        return f"a file may set {', '.join(RESOURCES)} of sbatch; give other options in the command"
    if key.endswith("._target_") and not (key.removesuffix("._target_") in PLUGINS and is_in(value, [OURS])):
        return f"a file may name launchers and sweepers of {OURS}"
    return ""


def check_plugins(cfg: DictConfig, words: Iterable[str]) -> None:
    """Check that what Hydra is about to build names no other classes, in whatever way a file has put them there.

    Args:
        cfg: the composed config, with the node hydra.
        words: keys that the command line sets.

    Raises:
        ValueError: a class that neither odkd nor the command line names.
    """
    given = list(words)
    for group in ("launcher", "sweeper", "callbacks"):
        for place, target in targets(cfg.hydra[group]).items() if cfg.hydra.get(group) else ():
            key = f"hydra.{group}.{place}".rstrip(".")
            is_named = is_in(target, [OURS, "hydra._internal.core_plugins"]) and key in PLUGINS
            if not is_named and not any(is_in(f"{key}._target_", [word]) for word in given):
                raise ValueError(
                    f"{key}._target_={target}: only the command may say what Hydra runs; give it there, if you trust it"
                )


def check_given(cfg: DictConfig, words: Iterable[str]) -> None:
    """Check that a composed config permits only what the command line permits, whatever a file refers to (`${...}`).

    Args:
        cfg: the composed config.
        words: keys that the command line sets.

    Raises:
        ValueError: a permission that the command line does not give.
    """
    given = list(words)
    for key in _keys_of_permissions(cfg):
        value = OmegaConf.select(cfg, key, throw_on_resolution_failure=False)
        if value and not any(is_in(word, [key]) for word in given):
            raise ValueError(
                f"{key}={value} is set by a file: only the command may permit that; add {key}={value} to it"
            )


def revoke(cfg: DictConfig) -> None:
    """Take back every permission that a config gives."""
    for key in _keys_of_permissions(cfg):
        if OmegaConf.select(cfg, key, throw_on_resolution_failure=False):
            OmegaConf.update(cfg, key, [] if key == "allow_targets" else False, merge=False)


def _keys_of_permissions(cfg: DictConfig) -> Iterator[str]:
    """Yield the keys of a config that may give a permission, also of members that a reference (`${...}`) brings."""
    yield from PERMISSIONS
    waiting = ["teacher"]
    for place in waiting:
        members = OmegaConf.select(cfg, f"{place}.members", throw_on_resolution_failure=False)
        found = [f"{place}.members.{name}" for name in members] if OmegaConf.is_dict(members) else []
        yield from (f"{inner}.trust" for inner in found)
        waiting += found


def check_words(words: Iterable[str], where: str) -> None:
    """Check the overrides that a file holds, such as the rows of a table.

    Raises:
        ValueError: one gives a permission, or changes what Hydra does.
    """
    for word in words:
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        is_inside = is_in(key, ["teacher.members"]) and re.search(r"\btrust\b", value) is not None
        if permits(key) or is_inside or is_in(key, ["hydra"]) or key.startswith("hydra/"):
            raise ValueError(f"{where}: {word}: a file may not say this; add '{word}' to the command, if you trust it")
