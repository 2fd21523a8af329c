"""Suggestions for what is not there: the choices that have a setting, and choices in folders of a group."""

from collections.abc import Iterable, Mapping, Sequence

from odkd.common.names import nearest
from odkd.common.renamed import SETTINGS

NAMED = 4  # choices that a message lists


def unknown_setting(name: str, keys: Mapping[str, Sequence[str]], groups: Iterable[str]) -> str:
    """Return the message about a setting that the composed config does not have."""
    if name in SETTINGS:
        return f"the setting {name} is called {SETTINGS[name]} now"
    if keys.get(name):
        group, choices = name.partition(".")[0], sorted(keys[name], key=len)  # smp before efficientnet_lite0
        some = one_of(choices) if len(choices) <= NAMED else f"{', '.join(choices[:NAMED])} and others"
        verb = "has" if len(choices) == 1 else "have"
        return f"the chosen {group} has no setting {name}; {group}={some} {verb} it: add {group}={choices[0]}"
    return f"there is no setting or group {name}{nearest(name, [*keys, *groups])}"


def unknown_choice(path: str, groups: Mapping[str, Sequence[str]]) -> str:
    """Return the message about a YAML file GROUP/NAME that is not there; NAME may begin with a folder of the group."""
    group, _, name = path.rpartition("/") if path.startswith("hydra/") else path.partition("/")
    choices = groups.get(group, [])
    return f"there is no {group}={name}{nearest_choice(name, choices)} (known: {', '.join(choices)})"


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


def one_of(names: Sequence[str]) -> str:
    """Return names as alternatives: one_of(["a", "b", "c"]) is "a, b or c"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
