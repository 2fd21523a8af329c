"""Files of tables: where they lie, what they extend, and what a mistake in one is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from odkd.common.reading import read_bytes
from odkd.common.yaml_files import MOST_YAML, check_yaml

FOLDER = Path(__file__).resolve().parent / "specs"
KEYS = {
    *("extends", "title", "stub", "fixed", "seeds"),
    *("rows", "variants", "columns"),
    *("published", "notes", "figures", "compared_with"),
}


def known_tables() -> dict[str, Path]:
    """Return the tables that come with odkd: name -> file."""
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))}


def read_spec(name: str, folder: Path = Path()) -> dict[str, Any]:
    """Read the YAML of a table, merged with the table that it extends: mappings key by key, other values replaced."""
    path = folder / name if name.endswith((".yaml", ".yml")) else known_tables().get(name)
    if path is None or not path.is_file():
        near = difflib.get_close_matches(name, known_tables(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"there is no table {name}{hint} (odkd-tables --list shows all, or give the path of a YAML file)"
        )
    try:
        content = read_bytes(path, MOST_YAML)
        spec = yaml.safe_load(content)
        check_yaml(content, path)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {_yaml_mistake(error)}") from error
    if not isinstance(spec, dict):
        raise ValueError(f"{path} has no keys; expected rows, columns, ...: docs/tables.md")
    if unknown := set(spec) - KEYS:
        raise ValueError(f"{path}: unknown key {sorted(unknown)[0]}; known: {', '.join(sorted(KEYS))}")
    base = spec.pop("extends", None)
    return merge(read_spec(base, path.parent), spec) if base else spec


def _yaml_mistake(error: yaml.YAMLError) -> str:
    """Return PyYAML's error in one line, with the most frequent cause in a list of overrides."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error).splitlines()[0]
    mark = error.problem_mark
    line = mark.buffer.splitlines()[mark.line].strip() if mark.buffer else ""
    hint = "; put an override that holds brackets or braces in quotes: ['dataset.size=[32,64]']"
    is_override = re.search(r"=\s*[\[{]", line) is not None
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}{hint if is_override else ''}"


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes`; null removes a key.

    >>> merge({"rows": {"a": [1], "b": [2]}}, {"rows": {"b": [3], "a": None}})
    {'rows': {'b': [3]}}
    """
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged
