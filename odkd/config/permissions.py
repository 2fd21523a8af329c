"""What only the command line may say: permissions, and what Hydra itself runs, writes and submits.

A YAML file may come from somebody else, a study in a shared folder for instance. It chooses settings; it must not
choose whose code runs. Files of odkd and of Hydra are trusted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.common.dotted import flatten, is_in
from odkd.common.reading import brief
from odkd.common.references import first_reference, refers_plainly
from odkd.config.known import CONF
from odkd.config.roles import targets

PERMISSIONS = ("allow_targets", "teacher.trust")
OF_MEMBERS = re.compile(r"teacher(\.members\.[^.]+)+\.trust(\..*)?")  # the second one, of members of an ensemble
PARAMS = "hydra.sweeper.params"  # what a study varies, whichever sweeper does it
KEY = re.compile(r"[\w.@/:-]+", re.ASCII)  # of an override: an = in it would begin the value
PACKAGE = re.compile(r"(\w+(\.\w+)*)?", re.ASCII)
PLUGINS = ("hydra.launcher", "hydra.sweeper")  # what Hydra builds; each names a class of odkd's
OURS = "hydra_plugins.odkd_plugins"
MAY_BE_SET = (*PLUGINS, "hydra.mode")
COMMANDS = ("hydra.launcher.setup", "hydra.launcher.address")  # shell lines; a server that exchanges pickled objects
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
    """Return settings of a group without what gives a permission, at any depth, whatever the keys above it are called.

    Raises:
        ValueError: a value refers to something (`${...}`), so that it is not known yet.
    """
    if (text := first_reference(settings)) is not None:
        raise ValueError(f"{place} refers to {brief(text)}; expected values: it may be somebody else's")
    ends = {key.rpartition(".")[2] for key in PERMISSIONS if key.startswith(f"{place}.")}

    def kept(part: Mapping[str, Any]) -> dict[str, Any]:
        return {k: kept(v) if isinstance(v, Mapping) else v for k, v in part.items() if k not in ends}

    return kept(settings)


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
    if not PACKAGE.fullmatch(package):
        raise ValueError(
            f"{folder.removeprefix('file://')}/{name}.yaml goes to {package}: a package of a file is names with "
            "dots between them; only the command may give others"
        )
    settings = flatten({package: content} if package else content)
    for key, value in settings.items():
        reason = _reason(key.replace("+", "").replace("~", ""), value)
        if reason:
            raise ValueError(f"{folder.removeprefix('file://')}/{name}.yaml sets {key}={value}: {reason}")


def _reason(key: str, value: str) -> str:
    """Return why a file may not set a key; "" if it may."""
    inside_hydra = is_in(key, ["hydra"])
    if "$" in (f"{key} {value}" if inside_hydra else key) or not refers_plainly(value):
        return "a file may refer to settings outside hydra, and calls nothing; only the command may, if you trust it"
    inside = key.removeprefix(f"{PARAMS}.")
    if permits(inside) and (inside != key or value not in ("[]", "False", "None")):
        return f"only the command may permit that; add {inside}={value} to it, if you trust the code"
    if inside != key and not KEY.fullmatch(inside):
        return "what a study varies is a key, with its values behind it"
    if inside != key:
        return "a study does not vary what Hydra does" if is_in(inside, ["hydra"]) else ""
    if not inside_hydra:
        return ""
    if not value.isprintable():
        return "only the command may give Hydra more than a line"
    if is_in(key, COMMANDS) or not is_in(key, MAY_BE_SET) or (key in (*PLUGINS, PARAMS) and value != "None"):
        return "only the command may say what Hydra runs, connects to and writes; give it there"
    if is_in(key, [SBATCH]) and key.removeprefix(f"{SBATCH}.") not in RESOURCES:
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
    for key, settings, name in _permissions(cfg):
        value = _value(settings, name)
        if value and not any(is_in(word, [key]) for word in given):
            raise ValueError(
                f"{key}={value} is set by a file: only the command may permit that; add {key}={value} to it"
            )


def revoke(cfg: DictConfig) -> None:
    """Take back every permission that a config gives.

    Raises:
        ValueError: it cannot be told what one refers to.
    """
    for _, settings, name in _permissions(cfg):
        if _value(settings, name):
            settings[name] = [] if name == "allow_targets" else False


def _permissions(cfg: DictConfig) -> Iterator[tuple[str, DictConfig, str]]:
    """Yield what may give a permission: dotted key, the settings that have it, and its name in them.

    Also those of members that a reference (`${...}`) brings, whatever their names are.
    """
    yield "allow_targets", cfg, "allow_targets"
    waiting = [("teacher", _value(cfg, "teacher"))]
    for place, teacher in waiting:
        if OmegaConf.is_dict(teacher):
            yield f"{place}.trust", teacher, "trust"
            members = _value(teacher, "members")
            names = list(members) if OmegaConf.is_dict(members) else []
            waiting += [(f"{place}.members.{name}", _value(members, name)) for name in names]


def _value(settings: DictConfig, name: Any) -> Any:
    """Return a value of settings, with what it refers to; None if there is none."""
    if name not in settings or OmegaConf.is_missing(settings, name):
        return None
    try:
        return settings[name]
    except OmegaConfBaseException as error:
        raise ValueError(f"{name}: nobody knows what it refers to ({brief(error)}); give it in the command") from error


def check_words(words: Iterable[str], where: str) -> None:
    """Check the overrides that a file holds, such as the rows of a table.

    Raises:
        ValueError: one gives a permission, changes what Hydra does, or calls something (`${oc.env:NAME}`).
    """
    for word in words:
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        if not KEY.fullmatch(key):
            raise ValueError(f"{where}: {word}: expected KEY=VALUE")
        is_inside = is_in(key, ["teacher.members"]) and re.search(r"\btrust\b", value) is not None
        if permits(key) or is_inside or is_in(key, ["hydra"]) or key.startswith("hydra/") or "${" in key:
            raise ValueError(f"{where}: {word}: a file may not say this; add '{word}' to the command, if you trust it")
        if not refers_plainly(value):
            raise ValueError(f"{where}: {word}: a file may refer to settings outside hydra, and calls nothing")
