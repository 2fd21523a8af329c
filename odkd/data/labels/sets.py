"""Built-in label sets: class names and colours of datasets, in order of their ids (data: `sets.json`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odkd.common.names import nearest


@dataclass(frozen=True)
class LabelSet:
    """The classes of a dataset: entry i of `classes` and `palette` (R, G, B in 0..255) is the class with id i."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


def label_set(name: str) -> LabelSet:
    """Return the label set of this name.

    >>> label_set("cityscapes").classes[:3]
    ('road', 'sidewalk', 'building')

    Raises:
        ValueError: there is no label set of this name.
    """
    known = _known()
    if name not in known:
        raise ValueError(f"there is no label set {name}{nearest(name, known)} (known: {', '.join(known)})")
    rows = known[name]["name_and_rgb"]
    return LabelSet(name, tuple(row[0] for row in rows), tuple((row[1], row[2], row[3]) for row in rows))


def palette_of(classes: Sequence[str]) -> list[list[int]] | None:
    """Return [R, G, B] per class from the label set with exactly these names; None if there is no such set."""
    for rows in (entry["name_and_rgb"] for entry in _known().values()):
        if [row[0] for row in rows] == list(classes):
            return [list(row[1:4]) for row in rows]
    return None


def _known() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(Path(__file__).with_name("sets.json").read_text())
    return known
