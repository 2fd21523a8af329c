"""Reading of YAML files of others: their aliases may not unfold to more than a file of settings can hold."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from odkd.common.reading import DamagedFileError, brief, read_bytes, shown
from odkd.common.references import first_reference

MOST_YAML = 2**22  # bytes
MOST_NODES = 200_000  # with aliases unfolded
DEEPEST = 100  # levels
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(path: Path, loader: Any = Loader) -> Any:
    """Return the plain content of a YAML file.

    Raises:
        DamagedFileError: it is no YAML, or too large.
        OSError: it is missing, or cannot be read.
    """
    content = read_bytes(path, MOST_YAML)
    check_yaml(content, path)
    try:
        return yaml.load(content, Loader=loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise DamagedFileError(_refusal(path, error)) from error


def load_config(path: Path, *, may_refer: bool = False) -> DictConfig:
    """Return the settings in a YAML file, read as Hydra reads it.

    Args:
        may_refer: values may refer to others (`${...}`); they are not looked up here.

    Raises:
        DamagedFileError: it is no YAML, too large, or holds no settings, or a reference.
        OSError: it is missing, or cannot be read.
    """
    content = read_bytes(path, MOST_YAML)
    check_yaml(content, path)
    try:
        loaded = OmegaConf.load(io.StringIO(content.decode()))
    except Exception as error:  # errors of YAML and OmegaConf share no class
        raise DamagedFileError(_refusal(path, error)) from error
    if not isinstance(loaded, DictConfig):
        raise DamagedFileError(f"{shown(path)} holds no settings; expected KEY: VALUE on each line")
    if not may_refer and (text := first_reference(OmegaConf.to_container(loaded))) is not None:
        raise DamagedFileError(f"{shown(path)} refers to {brief(text)}; expected values: it may be somebody else's")
    return loaded


def _refusal(path: Path, error: Exception) -> str:
    """Return the line that names a mistake in a YAML file, and its place if it is known."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f", line {mark.line + 1}" if mark is not None else ""
    return f"{shown(path)}{place}: not valid YAML: {problem or brief(error)}; mend it"


def check_yaml(content: bytes, path: Path) -> None:
    """Check that a YAML text is one, and how much it unfolds to, before it is built.

    Raises:
        DamagedFileError: it is none, or holds too much.
    """
    try:
        root = yaml.compose(content, Loader=Loader)
        num_nodes = 0 if root is None else _count(root, {}, 0)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DamagedFileError(_refusal(path, error)) from error
    if num_nodes > MOST_NODES:
        raise DamagedFileError(
            f"{shown(path)} holds {num_nodes:.3g} values, with its aliases; expected at most {MOST_NODES}"
        )


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return the number of values below a node; an alias counts as what it stands for."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep, or refers to itself")
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        inside = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(inner, known, depth + 1) for inner in inside)
    return known[id(node)]
