"""Hydra's errors about a command as one-line messages."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from odkd.common.names import nearest
from odkd.common.renamed import SETTINGS


def explain(error: Exception, keys: Iterable[str], groups: Mapping[str, Sequence[str]]) -> str:
    """Return an error of Hydra as one line with the nearest valid name; other errors in one line of their own words."""
    text = str(error)
    known = dict.fromkeys([*keys, *groups])
    for pattern, words in EXPLAINED.items():
        if found := re.search(pattern, f"{text}\n{error.__cause__ or ''}"):
            return words(found, known, groups)
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "https://hydra.cc" not in line)


Known = Iterable[str]
Groups = Mapping[str, Sequence[str]]


def _unknown_setting(found: re.Match[str], known: Known, _: Groups) -> str:
    is_inner = found["key"] and "." not in found["name"] and found["key"] != found["name"]
    name = f"{found['name']}.{found['key']}" if is_inner else found["name"]
    if name in SETTINGS:
        return f"the setting {name} is called {SETTINGS[name]} now"
    if name in known:
        group = name.partition(".")[0]
        return f"the chosen {group} has no setting {name}; another choice of {group} has it: see odkd --help"
    return f"there is no setting or group {name}{nearest(name, known)}"


def _unknown_choice(found: re.Match[str], _: Known, groups: Groups) -> str:
    group, _slash, name = found["name"].rpartition("/")
    choices = groups.get(group, [])
    return f"there is no {group}={name}{nearest(name, choices)} (known: {', '.join(choices)})"


def _missing_key(found: re.Match[str], known: Known, _: Groups) -> str:
    name = found["full"] or found["name"]
    if name in known:
        return f"the setting {name} is missing, and a run needs it: it was deleted with ~, or a YAML file lacks it"
    return f"there is no setting {name}{nearest(name, known)}"


def _several_values(found: re.Match[str], _: Known, groups: Groups) -> str:
    name, value = found["name"], found["value"].strip()
    text = f"{name}={value}: several values are a sweep, which begins with  odkd -m"
    return text if name in groups else f"{text}  ; a list is [{value}], a text with commas '{name}=\"{value}\"'"


def _doubled(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"{found['name']} is chosen already: write {found['name']}=NAME once, without +"


def _there_already(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"the setting {found['name']} exists: write {found['name']}=VALUE without +"


def _unfit(found: re.Match[str], _: Known, __: Groups) -> str:
    return f"{found['name']}={found['value'].strip()}: the value does not fit this setting, which is of another form"


def _no_such_deletion(found: re.Match[str], known: Known, _: Groups) -> str:
    name = found["name"]
    return f"~{name} deletes what is not there{nearest(name, known) if name not in known else ''}"


def _no_interpolation(found: re.Match[str], known: Known, _: Groups) -> str:
    place = f"{found['full']}: " if found["full"] else ""
    if found["name"] in known:
        return f"{place}the setting {found['name']} is missing, and its value is needed here"
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
