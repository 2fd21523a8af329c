"""The commands that fill a table: jobs combined into as few `odkd -m` commands as run exactly these jobs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from odkd.report.tables.wanted import WantedRun

Choices = dict[str, tuple[str, ...]]  # key of an override -> its values; each combination of values is a job


def grouped_commands(jobs: Iterable[WantedRun]) -> list[str]:
    """Return shell commands that run exactly these jobs.

    >>> jobs = [("replay=fifo", 0), ("replay=fifo", 1), ("replay=mir", 0)]
    >>> grouped_commands([WantedRun((word,), seed) for word, seed in jobs])
    ['odkd -m replay=fifo seed=0,1', 'odkd replay=mir seed=0']
    """
    return [shlex.join(["odkd", *arguments]) for arguments in grouped_arguments(jobs)]


def grouped_arguments(jobs: Iterable[WantedRun]) -> list[list[str]]:
    """Return the arguments of `odkd` in each of the commands."""
    by_folder: dict[str | None, list[Choices]] = {}
    for job in dict.fromkeys(jobs):
        choices: Choices = {key: (value,) for key, value in map(_split, job.command)}
        by_folder.setdefault(job.config_dir, []).append(choices)
    return [
        [*(["--config-dir", config_dir] if config_dir else []), *_arguments(group)]
        for config_dir, groups in by_folder.items()
        for group in _merged(groups)
    ]


def _arguments(group: Choices) -> list[str]:
    is_sweep = any(len(values) > 1 for values in group.values())
    return [*(["-m"] if is_sweep else []), *map(_override, group.items())]


def _merged(groups: list[Choices]) -> list[Choices]:
    while (merged := _merge_once(groups)) is not None:
        groups = merged
    return groups


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key, value


def _override(choice: tuple[str, Sequence[str]]) -> str:
    key, values = choice
    return key if values == ("",) and key.startswith("~") else f"{key}={','.join(values)}"


def _merge_once(groups: list[Choices]) -> list[Choices] | None:
    """Merge groups that differ in the values of one key, seeds first; return None if there are none."""
    for key in dict.fromkeys(["seed", *(key for group in groups for key in group)]):
        by_rest: dict[tuple[bool, tuple[tuple[str, tuple[str, ...]], ...]], Choices] = {}
        for group in groups:
            rest = (key in group, tuple((name, values) for name, values in group.items() if name != key))
            if key in group and rest in by_rest:
                group = group | {key: tuple(dict.fromkeys((*by_rest[rest][key], *group[key])))}
            by_rest[rest] = group
        if len(by_rest) < len(groups):
            return list(by_rest.values())
    return None
