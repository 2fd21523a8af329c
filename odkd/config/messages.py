"""Hydra's errors about a command as one-line messages."""

import re
from collections.abc import Mapping, Sequence

from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError

from odkd.common.names import nearest
from odkd.config.suggest import unknown_choice, unknown_setting


def explain(error: Exception, keys: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]) -> str:
    """Return an error of Hydra or OmegaConf as one line with the nearest valid name.

    Args:
        error: the error.
        keys: dotted key of each setting -> choices of its group that have it.
        groups: group -> its choices.
    """
    text = str(error)
    if (word := getattr(error, "override", None)) is not None:  # Hydra's parser could not read it
        reason = " ".join(text.splitlines()[0].split())
        return (
            f"{word} is not KEY=VALUE as Hydra reads it ({reason}); close its brackets and quotes, and quote "
            "a value that holds = , brackets or spaces, inside the quotes of the shell: 'KEY=\"a=b\"'"
        )
    if found := re.search(r"Could not delete from config\. '([\w./]+)' does not exist", text):
        if found[1] in keys:  # Hydra says so of a setting that is null, too
            return f"{found[1]} cannot be left out with ~; leave ~{found[1]} out of the command"
        return f"there is no setting {found[1]} to leave out{nearest(found[1], keys)}"
    if found := re.search(r"Could not override '(?:.*@)?([\w./]+)'", text):
        return unknown_setting(found[1], keys, groups)
    if found := re.search(r"Could not find '([\w./-]+)'", text):
        return unknown_choice(found[1], groups)
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


def missing(key: str) -> str:
    """Return the message about a setting that is not in the config."""
    return f"{key} is missing, and every run needs it; leave ~{key} out of the command, or add it to your YAML file"
