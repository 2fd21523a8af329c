"""Hydra's errors about a command as one-line messages."""

import re
from collections.abc import Iterable, Mapping, Sequence

from hydra.errors import OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError

from odkd.common.names import nearest
from odkd.common.renamed import SETTINGS

NAMED = 4  # choices that a message lists


def explain(error: Exception, keys: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]) -> str:
    """Return an error of Hydra or OmegaConf as one line with the nearest valid name.

    Args:
        error: the error.
        keys: dotted key of each setting -> choices of its group that have it.
        groups: group -> its choices.
    """
    text = str(error)
    if isinstance(error, OverrideParseException):
        reason = " ".join(text.splitlines()[0].split())
        return (
            f"{error.override} is not KEY=VALUE as Hydra reads it ({reason}); close its brackets and quotes, and quote "
            "a value that holds = , brackets or spaces, inside the quotes of the shell: 'KEY=\"a=b\"'"
        )
    if found := re.search(r"Could not delete from config\. '([\w./]+)' does not exist", text):
        if found[1] in keys:  # Hydra says so of a setting that is null, too
            return f"{found[1]} cannot be left out with ~; leave ~{found[1]} out of the command"
        return f"there is no setting {found[1]} to leave out{nearest(found[1], keys)}"
    if found := re.search(r"Could not override '(?:.*@)?([\w./]+)'", text):
        return _unknown_setting(found[1], keys, groups)
    if found := re.search(r"Could not find '([\w./-]+)'", text):
        group, _, name = found[1].rpartition("/") if found[1].startswith("hydra/") else found[1].partition("/")
        choices = groups.get(group, [])
        return f"there is no {group}={name}{nearest_choice(name, choices)} (known: {', '.join(choices)})"
    if isinstance(error, InterpolationKeyError) and (found := re.search(r"key '([\w.]+)' not found", text)):
        if found[1] in keys:
            return missing(found[1])
        return f"{error.full_key} refers to {found[1]}, and there is no such setting{nearest(found[1], keys)}"
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and error.full_key:
        key = str(error.full_key)
        if key in keys or key in groups:
            return missing(key)
        return f"there is no setting {key}{nearest(key, keys)}"
    return " ".join(text.split())


def nearest_choice(name: str, choices: Sequence[str]) -> str:
    """Return "; did you mean X?" with choices that are called the same in a folder, and the most similar one.

    >>> nearest_choice("camvid", ["camvid_online", "mckd/camvid", "mckd/coco"])
    '; did you mean mckd/camvid or camvid_online?'
    """
    same = [choice for choice in choices if choice.rpartition("/")[2] == name]
    hint = nearest(name, [choice for choice in choices if "/" not in choice]) or nearest(name, choices)
    if not hint:  # "mkcd/camvd" is near "mckd/camvid"; "camvd" only near its last part
        leaves = {choice.rpartition("/")[2]: choice for choice in choices}
        hint = nearest(name, leaves)
        found = hint.removeprefix("; did you mean ").removesuffix("?")
        hint = hint.replace(found, leaves[found]) if hint else ""
    if not same:
        return hint
    near = [found] if (found := hint.removeprefix("; did you mean ").removesuffix("?")) not in ("", *same) else []
    return f"; did you mean {one_of([*same, *near])}?"


def missing(key: str) -> str:
    """Return the message about a setting that is not in the config."""
    return f"{key} is missing, and every run needs it; leave ~{key} out of the command, or add it to your YAML file"


def one_of(names: Sequence[str]) -> str:
    """Return names as alternatives: one_of(["a", "b", "c"]) is "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _unknown_setting(name: str, keys: Mapping[str, Sequence[str]], groups: Iterable[str]) -> str:
    if name in SETTINGS:
        return f"the setting {name} is called {SETTINGS[name]} now"
    if keys.get(name):
        group, choices = name.partition(".")[0], sorted(keys[name], key=len)  # smp before efficientnet_lite0
        some = one_of(choices) if len(choices) <= NAMED else f"{', '.join(choices[:NAMED])} and others"
        verb = "has" if len(choices) == 1 else "have"
        return f"the chosen {group} has no setting {name}; {group}={some} {verb} it: add {group}={choices[0]}"
    return f"there is no setting or group {name}{nearest(name, [*keys, *groups])}"
