"""Hydra's errors about a command as one-line messages."""

import re
from collections.abc import Iterable

from odkd.common.names import nearest
from odkd.common.renamed import SETTINGS


def explain(error: Exception, keys: Iterable[str], groups: dict[str, list[str]]) -> str | None:
    """Return an error of Hydra as one line with the nearest valid name; None for other errors."""
    text = str(error)
    if found := re.search(r"Could not override '(?:.*@)?([\w./]+)'", text):
        name = found[1]
        known = set(keys) | set(groups)
        if name in SETTINGS:
            return f"the setting {name} is called {SETTINGS[name]} now"
        if name in known:
            group = name.partition(".")[0]
            return f"the chosen {group} has no setting {name}; another choice of {group} has it: see odkd --help"
        return f"there is no setting or group {name}{nearest(name, known)}"
    if found := re.search(r"Could not find '([\w./-]+)'", text):
        group, _, name = found[1].rpartition("/")
        choices = groups.get(group, [])
        return f"there is no {group}={name}{nearest(name, choices)} (known: {', '.join(choices)})"
    if found := re.search(r"Key '(\w+)' is not in struct", text):
        return f"there is no setting {found[1]}{nearest(found[1], keys)}"
    if "mismatched input" in text or "Error parsing override" in text or "LexerNoViableAlt" in text:
        return text.splitlines()[0] + " (quote values that hold = , brackets or spaces, inside the quotes of the shell)"
    return None
