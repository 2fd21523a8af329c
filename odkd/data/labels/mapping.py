"""A teacher's classes -> the dataset's: by name, by a table that odkd knows, or by hand (`teacher.classes`).

Three ways to say it:

* null: by name. Case, spaces, `-` and `_` do not count; of what is left, COCO's endings `-merged`, `-other`,
  `-other-merged` and `-stuff` do not count either, where this leaves no choice (one class on each side).
* a name of `TABLES`: what the table lists, nothing by name.
* a dict. An entry wins over the names; classes that no entry lists go by name.
  `{teacher class: dataset class}`, `{teacher class: null}` (ignored), `{dataset class: [teacher classes]}`, and
  `{"*": dataset class or null}` for every teacher class that neither an entry nor its name places.
  ARTHuS' foreground (Cioppa et al. 2019): `{foreground: [car, motorcycle, bus, truck], "*": background}`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.common.names import nearest
from odkd.data.labels import LabelSource, SoftSource
from odkd.data.labels.class_names import find_name, match_names, plain, shorten
from odkd.data.labels.class_tables import TABLES

REST = "*"  # key of a mapping: the teacher classes that nothing else places

ClassMapping = str | Mapping[str, str | Sequence[str] | None] | None


@dataclass(frozen=True, eq=False)
class ClassTable:
    """What becomes of each teacher id: `ids` is uint8 [256], dataset id or 255 = ignore; entry 255 is 255."""

    teacher_classes: tuple[str, ...]
    dataset_classes: tuple[str, ...]
    ids: np.ndarray

    @property
    def is_identity(self) -> bool:
        """Whether each teacher class keeps its id."""
        num_classes = len(self.teacher_classes)
        return bool((self.ids[:num_classes] == np.arange(num_classes)).all())

    def sources(self, dataset_id: int) -> list[str]:
        """Names of the teacher classes that become this class (255: that are ignored)."""
        return [name for name, new in zip(self.teacher_classes, self.ids, strict=False) if new == dataset_id]

    def describe(self) -> str:
        """One line a dataset class, then the teacher classes that are ignored.

        >>> table = class_table(["car", "truck", "sky"], ["car", "tree"], {"truck": "car"}, allow_missing=True)
        >>> print(table.describe())
        car <- car, truck
        tree <- nothing
        ignored: sky
        """
        lines = [f"{name} <- {', '.join(self.sources(i)) or 'nothing'}" for i, name in enumerate(self.dataset_classes)]
        ignored = self.sources(IGNORE)
        return "\n".join([*lines, *([f"ignored: {', '.join(ignored)}"] if ignored else [])])


def class_table(
    teacher_classes: Sequence[str], dataset_classes: Sequence[str], mapping: ClassMapping, *, allow_missing: bool
) -> ClassTable:
    """The table that a mapping says (see the head of this file).

    >>> class_table(["Traffic-Light", "tree-merged"], ["tree", "traffic_light"], None, allow_missing=False).ids[:3]
    array([  1,   0, 255], dtype=uint8)

    Raises:
        ValueError: an unknown table or class, a class placed twice, a value that says nothing; no class in common; a
            dataset class without a source where `allow_missing` is false; more than 255 classes, or two of the dataset
            that differ in spelling only.
    """
    for whose, classes in (("teacher", teacher_classes), ("dataset", dataset_classes)):
        if not 1 <= len(classes) <= IGNORE:
            raise ValueError(f"the {whose} has {len(classes)} classes; expected 1 to {IGNORE}: ids are bytes")
    if doubled := [name for name, count in Counter(map(plain, dataset_classes)).items() if count > 1]:
        raise ValueError(f"dataset.classes names {doubled[0]} twice (case, spaces, - and _ do not count); rename one")
    if isinstance(mapping, str):
        if mapping not in TABLES:
            raise ValueError(
                f"teacher.classes={mapping}: there is no such table{nearest(mapping, TABLES)} "
                f"(known: {', '.join(TABLES)})"
            )
        placed = _entries(f"table {mapping}", TABLES[mapping], teacher_classes, dataset_classes)
    elif mapping is None or isinstance(mapping, Mapping):
        entries = {key: value for key, value in (mapping or {}).items() if key != REST}
        placed = match_names(teacher_classes, dataset_classes)
        placed |= _entries("teacher.classes", entries, teacher_classes, dataset_classes)
        if mapping and REST in mapping:
            rest = _rest(mapping[REST], dataset_classes)
            placed = dict.fromkeys(range(len(teacher_classes)), rest) | placed
    else:
        raise ValueError(f"teacher.classes={mapping!r}; expected null, the name of a table, or {{its class: ours}}")
    ids = np.full(256, IGNORE, np.uint8)
    ids[list(placed)] = list(placed.values())
    _check_sources(teacher_classes, dataset_classes, set(placed.values()) - {IGNORE}, allow_missing)
    ids.setflags(write=False)
    return ClassTable(tuple(teacher_classes), tuple(dataset_classes), ids)


class MappedLabels:
    """A teacher's label maps with the dataset's ids. Where every class keeps its id, maps pass without a copy."""

    def __init__(self, source: LabelSource, table: ClassTable) -> None:
        self._source, self._table, self._is_identity = source, table, table.is_identity

    def read(self, position: int) -> np.ndarray:
        """uint8 [H, W] with ids of the dataset; 255 = ignore."""
        label_HW = self._source.read(position)
        if self._is_identity:
            return label_HW
        mapped_HW: np.ndarray = self._table.ids[label_HW]
        return mapped_HW

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes uint8 [k, h, w] of the dataset, likeliest first, 255 = not used, and probabilities float32 [k, h, w].

        A pixel sums to less than 1 by the share, among what is not ignored, of the teacher classes beyond the top k:
        whichever these were, the loss spreads it over the dataset's other classes.
        """
        assert isinstance(self._source, SoftSource)
        ids_KHW, shares_KHW = self._source.read_soft(position)
        if self._is_identity:
            return ids_KHW, shares_KHW
        return map_top_k(ids_KHW, shares_KHW, self._table)


def map_probabilities(class_ids_KHW: np.ndarray, probabilities_KHW: np.ndarray, table: ClassTable) -> np.ndarray:
    """Probabilities of the dataset's C classes from those of the teacher's k likeliest, of each pixel.

    Those of classes that become one are added, those of ignored classes dropped, and the rest divided by its sum.

    Args:
        class_ids_KHW: uint8 [k, h, w], teacher ids; 255 for a place that is not used.
        probabilities_KHW: floating point [k, h, w].

    Returns:
        float32 [C, h, w]; a pixel sums to 1, or is all zeros where nothing is left: it teaches nothing.

    >>> table = class_table(["car", "truck", "sky"], ["car", "tree"], {"truck": "car"}, allow_missing=True)
    >>> ids, shares = np.array([[[0]], [[2]], [[1]]], np.uint8), np.array([[[0.5]], [[0.25]], [[0.25]]], np.float16)
    >>> map_probabilities(ids, shares, table)[:, 0, 0]
    array([1., 0.], dtype=float32)
    """
    assert class_ids_KHW.shape == probabilities_KHW.shape
    _, height, width = class_ids_KHW.shape
    mapped_CHW = np.zeros((len(table.dataset_classes), height, width), np.float32)
    for ids_HW, shares_HW in zip(class_ids_KHW, probabilities_KHW, strict=True):
        new_HW = table.ids[ids_HW]
        rows, columns = np.nonzero(new_HW != IGNORE)
        mapped_CHW[new_HW[rows, columns], rows, columns] += shares_HW[rows, columns]
    total_HW = mapped_CHW.sum(0)
    mapped_CHW /= np.where(total_HW > 0, total_HW, 1)
    return mapped_CHW


def map_top_k(
    class_ids_KHW: np.ndarray, probabilities_KHW: np.ndarray, table: ClassTable
) -> tuple[np.ndarray, np.ndarray]:
    """`map_probabilities` as a top k again, with what the teacher's top k left out still left out.

    >>> table = class_table(["car", "truck", "sky"], ["tree", "car"], {"truck": "car"}, allow_missing=True)
    >>> ids, shares = np.array([[[0]], [[1]]], np.uint8), np.array([[[0.5]], [[0.25]]], np.float16)
    >>> [part.ravel().tolist() for part in map_top_k(ids, shares, table)]
    [[1, 255], [0.75, 0.0]]
    """
    mapped_CHW = map_probabilities(class_ids_KHW, probabilities_KHW, table)
    shares_KHW = probabilities_KHW.astype(np.float32)
    known_HW = np.where(table.ids[class_ids_KHW] != IGNORE, shares_KHW, 0).sum(0)
    rest_HW = np.clip(1 - shares_KHW.sum(0), 0, None)
    mapped_CHW *= known_HW / np.where(known_HW > 0, known_HW + rest_HW, 1)
    new_ids_KHW = np.full_like(class_ids_KHW, IGNORE)
    new_shares_KHW = np.zeros(class_ids_KHW.shape, np.float32)
    for place in range(len(class_ids_KHW)):  # at most k classes are above 0
        best_HW = mapped_CHW.argmax(0)
        share_HW = np.take_along_axis(mapped_CHW, best_HW[None], 0)[0]
        new_ids_KHW[place] = np.where(share_HW > 0, best_HW, IGNORE)
        new_shares_KHW[place] = share_HW
        np.put_along_axis(mapped_CHW, best_HW[None], 0, 0)
    return new_ids_KHW, new_shares_KHW


def count_unmapped(histogram: np.ndarray, table: ClassTable) -> dict[str, int]:
    """{teacher class: pixels} of what the table ignores, most first.

    Args:
        histogram: integer [256], pixels of each teacher id; 255, which the teacher ignores itself, does not count.
    """
    counts = {
        name: int(pixels)
        for name, pixels, new in zip(table.teacher_classes, histogram, table.ids, strict=False)
        if new == IGNORE and pixels > 0
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def unmapped_warning(histogram: np.ndarray, table: ClassTable) -> str | None:
    """What to warn of: the classes that become ignore, with their share of all that the teacher labelled; or None."""
    counts = count_unmapped(histogram, table)
    if not counts:
        return None
    total = int(histogram[:IGNORE].sum())
    parts = [f"{name} ({pixels} pixels, {100 * pixels / total:.2g} %)" for name, pixels in counts.items()]
    return (
        f"teacher classes that are none of the dataset's become ignore: {', '.join(parts)}; "
        "place those that matter in teacher.classes"
    )


def _entries(
    where: str,
    entries: Mapping[str, str | Sequence[str] | None],
    teacher_classes: Sequence[str],
    dataset_classes: Sequence[str],
) -> dict[int, int]:
    """{teacher id: dataset id, or 255} of a mapping's entries but `*`."""
    placed: dict[int, int] = {}
    for key, value in entries.items():
        if isinstance(value, str) or not isinstance(value, Sequence):
            names, target = [key], value
        else:
            names, target = list(value), key
        if not all(isinstance(name, str) for name in [*names, key if target is None else target]):
            raise ValueError(
                f"{where} has {key!r}: {value!r}; expected {{its class: ours}}, {{its class: null}} or "
                "{our class: [its classes]}, numbers in quotes"
            )
        new = IGNORE if target is None else _find(where, target, "dataset", dataset_classes)[0]
        for name in names:
            for old in _find(where, name, "teacher", teacher_classes):
                if placed.setdefault(old, new) != new:
                    raise ValueError(f"{where} places the teacher's {teacher_classes[old]} twice; keep one")
    return placed


def _rest(value: str | Sequence[str] | None, dataset_classes: Sequence[str]) -> int:
    if not (value is None or isinstance(value, str)):
        raise ValueError(f'teacher.classes has "*": {value!r}; expected a dataset class, or null to ignore the rest')
    return IGNORE if value is None else _find("teacher.classes", value, "dataset", dataset_classes)[0]


def _find(where: str, name: str, whose: Literal["teacher", "dataset"], classes: Sequence[str]) -> list[int]:
    found = find_name(name, classes)
    if not found:
        setting = {"teacher": "teacher.label_set", "dataset": "dataset.classes"}[whose]
        raise ValueError(
            f"{where} names {name}, which is no class of the {whose}{nearest(name, classes)} "
            f"(it has {shorten(classes)}); change teacher.classes, or {setting}"
        )
    return found


def _check_sources(
    teacher_classes: Sequence[str],
    dataset_classes: Sequence[str],
    new_ids: set[int],
    allow_missing: bool,
) -> None:
    better = _best_table(teacher_classes, dataset_classes, more_than=len(new_ids))
    hint = f"teacher.classes={better}" if better else "pairs of names, 'teacher.classes={its: ours, *: rest}'"
    if not new_ids:
        raise ValueError(
            f"none of the teacher's classes ({shorten(teacher_classes)}) is one of the dataset's "
            f"({shorten(dataset_classes)}); give {hint}"
        )
    missing = [name for i, name in enumerate(dataset_classes) if i not in new_ids]
    if missing and not allow_missing:
        raise ValueError(
            f"no class of the teacher becomes {', '.join(missing)} of the dataset; give {hint}, "
            "or set teacher.allow_missing=true if these are never to be labelled"
        )


def _best_table(teacher_classes: Sequence[str], dataset_classes: Sequence[str], *, more_than: int) -> str | None:
    """The known table whose names are all there and that gives the most dataset classes a source, above `more_than`."""
    teacher, dataset = ({plain(name) for name in names} for names in (teacher_classes, dataset_classes))
    fitting = {
        name: len(table)
        for name, table in TABLES.items()
        if {plain(new) for new in table} <= dataset
        and {plain(old) for sources in table.values() for old in sources} <= teacher
    }
    best = max(fitting, key=fitting.__getitem__, default=None)
    return best if best is not None and fitting[best] > more_than else None
