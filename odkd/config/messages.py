"""Hydra's errors about a command as one-line messages."""

import re
from collections.abc import Callable, Mapping, Sequence

from odkd.common.names import nearest
from odkd.config.suggest import unknown_choice, unknown_setting

Known = Mapping[str, Sequence[str]]  # dotted key of each setting -> choices of its group that have it
Groups = Mapping[str, Sequence[str]]  # group -> its choices


def explain(error: Exception, keys: Known, groups: Groups) -> str:
    """Return an error of Hydra as one line with the nearest valid name; other errors in one line of their own words."""
    text = str(error)
    for pattern, words in EXPLAINED.items():
        if found := re.search(pattern, f"{text}\n{error.__cause__ or ''}"):
            return words(found, keys, groups)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "https://hydra.cc" not in line)


def missing(key: str) -> str:
    """Return the message about a setting that is not in the config."""
    return f"{key} is missing, and every run needs it; leave ~{key} out of the command, or add it to your YAML file"


def _unknown_setting(found: re.Match[str], known: Known, groups: Groups) -> str:
    is_inner = found["key"] and "." not in found["name"] and found["key"] != found["name"]
    return unknown_setting(f"{found['name']}.{found['key']}" if is_inner else found["name"], known, groups)


def _unknown_choice(found: re.Match[str], _: Known, groups: Groups) -> str:
    return unknown_choice(found["name"], groups)


def _missing_key(found: re.Match[str], known: Known, groups: Groups) -> str:
    name = found["full"] or found["name"]
    return missing(name) if name in known or name in groups else f"there is no setting {name}{nearest(name, known)}"


def _several_values(found: re.Match[str], _: Known, groups: Groups) -> str:
    name, value = found["name"], found["value"].strip()
    text = f"{name}={value}: several values are a sweep, which begins with  odkd -m"
    if name == "tracking":
        return f"{text}; several trackers of one run are '{name}=[{value}]'"
    return text if name in groups else f"{text}  ; a list is [{value}], a text with commas '{name}=\"{value}\"'"


def _doubled(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"{found['name']} is chosen already: write {found['name']}=NAME once, without +"


def _there_already(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"the setting {found['name']} exists: write {found['name']}=VALUE without +"


def _unfit(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"{found['name']}={found['value'].strip()}: the value does not fit this setting, which is of another form"


def _no_such_deletion(found: re.Match[str], known: Known, _: Groups) -> str:
    name = found["name"]
    if name in known:  # Hydra says so of a setting that is null, too
        return f"{name} cannot be left out with ~; leave ~{name} out of the command"
    return f"~{name} deletes what is not there{nearest(name, known)}"


def _no_interpolation(found: re.Match[str], known: Known, _: Groups) -> str:
    if found["name"] in known:
        return missing(found["name"])
    place = f"{found['full']}: " if found["full"] else ""
    return f"{place}there is no setting {found['name']} to take the value from{nearest(found['name'], known)}"


def _not_set(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"{found['name']} is not set; add {found['name']}=... to the command"


EXPLAINED: Mapping[str, Callable[[re.Match[str], Known, Groups], str]] = {
    r"(?s)Could not override '(?:[^']*@)?(?P<name>[\w./]+)'(?:.*Key '(?P<key>[^']+)' is not)?": _unknown_setting,
    r"Could not find '(?P<name>[\w./=-]+)'": _unknown_choice,
    r"Multiple values for (?P<name>[\w/]+)": _doubled,
    r"Could not append to config. An item is already at '(?P<name>[\w.]+)'": _there_already,
    r"Ambiguous value for argument '(?P<name>[\w./@]+)=(?P<value>.*)'": _several_values,
    r"Error merging override (?P<name>[+\w./@]+)=(?P<value>.*)": _unfit,
    r"Could not delete (?:from config. )?'(?P<name>[\w./]+)'": _no_such_deletion,
    r"(?s)Interpolation key '(?P<name>[^']+)' not found(?:.*full_key: (?P<full>[\w.]+))?": _no_interpolation,
    r"Missing mandatory value: (?P<name>[\w.]+)": _not_set,
    r"(?s)Key '(?P<name>\w+)' is not in struct(?:.*full_key: (?P<full>[\w.]+))?": _missing_key,
}
