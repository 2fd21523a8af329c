"""Names of classes: which two are the same, and which is meant."""

import re
from collections import Counter
from collections.abc import Sequence

ENDINGS = re.compile(r"[ _-]*(other[ _-]*)?(merged|other|stuff)$")  # COCO's; not every set has them


def plain(name: str) -> str:
    """A name without what is mere spelling: case, spaces, `-`, `_`."""
    return re.sub(r"[ _-]", "", name.lower())


def match_names(teacher_classes: Sequence[str], dataset_classes: Sequence[str]) -> dict[int, int]:
    """{teacher id: dataset id} by name; then, of what is left, without COCO's endings where only one on each side fits.

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
    """Ids of the classes of this name: spelled so, or else in any spelling; none if there are none."""
    found = [i for i, known in enumerate(classes) if known == name]
    return found or [i for i, known in enumerate(classes) if plain(known) == plain(name)]


def shorten(names: Sequence[str]) -> str:
    """A list of names for a message: the first twenty, and how many there are."""
    return ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, ... ({len(names)} in all)"


def _stem(name: str) -> str:
    return plain(ENDINGS.sub("", name.lower()))
