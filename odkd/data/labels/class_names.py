"""Comparison of class names: which names denote the same class."""

import re
from collections import Counter
from collections.abc import Sequence

ENDINGS = re.compile(r"[ _-]*(other[ _-]*)?(merged|other|stuff)$")  # of COCO's names; other sets lack them


def plain(name: str) -> str:
    """Return a name without differences of spelling: in lower case, without spaces, `-` and `_`."""
    return re.sub(r"[ _-]", "", name.lower())


def match_names(teacher_classes: Sequence[str], dataset_classes: Sequence[str]) -> dict[int, int]:
    """Return {teacher id: dataset id} of the classes whose names match.

    The remaining names are compared again without COCO's endings and match where exactly one on each side fits.

    >>> match_names(["Road", "sky-other-merged", "wall-other", "wall-stuff"], ["sky", "wall", "road"])
    {0: 2, 1: 0}
    """
    ids = {plain(name): i for i, name in enumerate(dataset_classes)}
    placed = {i: ids[plain(name)] for i, name in enumerate(teacher_classes) if plain(name) in ids}
    taken = set(placed.values())
    teacher_stems = [(_stem(name), i) for i, name in enumerate(teacher_classes) if i not in placed]
    dataset_stems = [(_stem(name), i) for i, name in enumerate(dataset_classes) if i not in taken]
    counts = [Counter(stem for stem, _ in stems) for stems in (teacher_stems, dataset_stems)]
    new_ids = dict(dataset_stems)
    return placed | {i: new_ids[stem] for stem, i in teacher_stems if all(count[stem] == 1 for count in counts)}


def find_name(name: str, classes: Sequence[str]) -> list[int]:
    """Return the ids of the classes with exactly this name, or else with another spelling of it."""
    found = [i for i, known in enumerate(classes) if known == name]
    return found or [i for i, known in enumerate(classes) if plain(known) == plain(name)]


def join_names(names: Sequence[str]) -> str:
    """Return a list of names for a message; at most twenty names, then the total."""
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, ... ({len(names)} in all)"


def _stem(name: str) -> str:
    return plain(ENDINGS.sub("", name.lower()))
