"""The words of the `odkd` command: options as Hydra has them, settings as people type them, or one message."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from odkd.common.files import at_home
from odkd.common.names import nearest
from odkd.config.words import TYPOGRAPHIC, Groups, advice_on, read_settings

OF_HYDRA_ALONE = ("--config-name", "-cn", "--config-path", "-cp")


def read_command(
    words: Sequence[str], parser: argparse.ArgumentParser, groups: Groups, keys: Callable[[], Iterable[str]]
) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of a command, and its words as Hydra reads them.

    Args:
        words: as typed.
        parser: Hydra's; afterwards a mistake in an option raises ValueError instead of printing how it is used.
        groups: the known groups.
        keys: returns the known settings.

    Raises:
        ValueError: an unknown option, or a word that is no setting.
    """

    def refuse(message: str) -> NoReturn:
        raise ValueError(f"{message} (see odkd --help)")

    parser.error = refuse  # type: ignore[method-assign]
    options = [option for action in parser._actions for option in action.option_strings]
    for number, word in enumerate(words):
        check_option(word, words[number + 1 :], options, groups, keys)
    given = parser.parse_intermixed_args(words)
    if given.shell_completion:
        return given, list(words)
    read = dict(zip(given.overrides, read_settings(given.overrides, groups, keys), strict=True))
    if given.config_dir is not None:
        given.config_dir = str(at_home(given.config_dir))
    if given.config_dir in (None, *words) and not parser.parse_known_args(words)[1]:
        return given, [read.get(word, word) for word in words]
    return given, [*_spelled(given), *read.values()]  # Hydra takes no option after a setting


def check_option(
    word: str, following: Sequence[str], options: Sequence[str], groups: Groups, keys: Callable[[], Iterable[str]]
) -> None:
    """Check a word that begins with a dash, also with a typeset one.

    Raises:
        ValueError: it is a setting with dashes, or no option at all.
    """
    plain = word.translate(TYPOGRAPHIC) if word[:1] in "‐‑‒–—−" else word
    option = plain.partition("=")[0]
    if not plain.startswith("-") or (plain == word and option in options and option not in OF_HYDRA_ALONE):
        return
    if option in OF_HYDRA_ALONE:
        raise ValueError(f"{option} is an option of Hydra that odkd does not have; your YAML files: --config-dir")
    name, equal, value = plain.lstrip("-").partition("=")
    known = [*groups, *keys()]
    if (dashed := f"--{name}") in options:
        raise ValueError(f"{word}: the option is {dashed}, with two plain dashes")
    if name in known:
        written = f"write {name}={value}" if equal else advice_on(name, following, groups, keys())
        raise ValueError(f"{word}: settings have no dashes; {written}")
    near = nearest(option, [name for name in [*options, *known] if len(name) > 3])
    raise ValueError(f"there is no option {word}{near}; odkd --help and --hydra-help name those that there are")


def _spelled(given: argparse.Namespace) -> list[str]:
    """Return the options as words."""
    flags = {"help", "hydra_help", "resolve", "run", "multirun"}
    values = {name: value for name, value in vars(given).items() if name != "overrides" and value not in (None, False)}
    return [f"--{name.replace('_', '-')}" + ("" if name in flags else f"={value}") for name, value in values.items()]
