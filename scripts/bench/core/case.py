"""The cases: one module of `bench` each, with a declaration CASE and a function `measure`."""

import fnmatch
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.core.result import Result
from odkd.common.names import nearest

FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a case asks and what it costs.

    Args:
        question: one sentence.
        method: how it is measured, with its baseline and its limit.
        repeats: measurements of each quantity, from which the median is taken.
        seconds: what it takes on 2 cores, once its videos are rendered.
        is_long: it runs only if it is named, or with --all.
    """

    question: str
    method: str
    repeats: int
    seconds: int
    is_long: bool = False


class Measure(Protocol):
    """The function of a case."""

    def __call__(self, folder: Path, *, quick: bool) -> list[Result]:
        """Measure; files go below `folder`, which is kept. `quick`: sizes and repeats that only show that it works."""


class SkippedError(Exception):
    """A case cannot run here, for the reason in the message."""


def case_names() -> list[str]:
    """Return the names of all cases; no case is imported."""
    return [path.stem for path in sorted(FOLDER.glob("*.py")) if re.search(r"^CASE = ", path.read_text(), re.MULTILINE)]


def load(name: str) -> tuple[Case, Measure]:
    """Import a case."""
    module = importlib.import_module(f"bench.{name}")
    return module.CASE, module.measure


def choose(patterns: Sequence[str], *, everything: bool = False) -> list[str]:
    """Return the cases that match the names or globs, in alphabetical order; without any, all but the long ones.

    Raises:
        ValueError: a pattern that matches no case.
    """
    names = case_names()
    if not patterns:
        return [name for name in names if everything or not load(name)[0].is_long]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"no case is called {pattern}{nearest(pattern, names)}; --list shows the cases")
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
