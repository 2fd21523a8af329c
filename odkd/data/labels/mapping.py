"""The mapping of a teacher's classes to the dataset's: by name, by a built-in table, or by hand (`teacher.classes`).

`teacher.classes` has three forms:

* null: classes are matched by name. Case, spaces, `-` and `_` do not count. For names without a match, COCO's endings
  `-merged`, `-other`, `-other-merged` and `-stuff` do not count either, if exactly one class on each side then fits.
* a name of `TABLES`: the table decides alone, names are not compared.
* a dict: its entries have precedence, and classes that no entry lists are matched by name. Entries are
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
from odkd.data.labels.class_names import find_name, join_names, match_names, plain
from odkd.data.labels.class_tables import TABLES

REST = "*"  # key of a mapping for all teacher classes without another entry or match

ClassMapping = str | Mapping[str, str | Sequence[str] | None] | None


@dataclass(frozen=True, eq=False)
class ClassTable:
    """The dataset class of each teacher class."""

    teacher_classes: tuple[str, ...]
    dataset_classes: tuple[str, ...]
    ids: np.ndarray  # uint8 [256]: teacher id -> dataset id, or 255 = ignore; entry 255 is 255

    @property
    def is_identity(self) -> bool:
        """True if each teacher class keeps its id."""
        num_classes = len(self.teacher_classes)
        return bool((self.ids[:num_classes] == np.arange(num_classes)).all())

    def sources(self, dataset_id: int) -> list[str]:
        """Return the names of the teacher classes that become this class (255: those that are ignored)."""
        return [name for name, new in zip(self.teacher_classes, self.ids, strict=False) if new == dataset_id]

    def describe(self) -> str:
        """Return one line per dataset class, then the teacher classes that are ignored.

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
    """Return the table for a mapping (`teacher.classes`, see the head of this file).

    >>> class_table(["Traffic-Light", "tree-merged"], ["tree", "traffic_light"], None, allow_missing=False).ids[:3]
    array([  1,   0, 255], dtype=uint8)

    Raises:
        ValueError: an unknown table or class, a class mapped twice, an invalid value; no class in common; a dataset
            class without a source while `allow_missing` is false; more than 255 classes, or two dataset classes whose
            names differ only in spelling.
    """
    for whose, classes in (("teacher", teacher_classes), ("dataset", dataset_classes)):
        if not 1 <= len(classes) <= IGNORE:
            raise ValueError(f"the {whose} has {len(classes)} classes; expected 1 to {IGNORE}, because ids are bytes")
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
        raise ValueError(
            f"teacher.classes={mapping!r}; expected null, the name of a table, or {{teacher class: dataset class}}"
        )
    ids = np.full(256, IGNORE, np.uint8)
    ids[list(placed)] = list(placed.values())
    _check_sources(teacher_classes, dataset_classes, set(placed.values()) - {IGNORE}, allow_missing)
    ids.setflags(write=False)
    return ClassTable(tuple(teacher_classes), tuple(dataset_classes), ids)


def _entries(
    where: str,
    entries: Mapping[str, str | Sequence[str] | None],
    teacher_classes: Sequence[str],
    dataset_classes: Sequence[str],
) -> dict[int, int]:
    """Return {teacher id: dataset id or 255} for the entries of a mapping, without `*`."""
    placed: dict[int, int] = {}
    for key, value in entries.items():
        if isinstance(value, str) or not isinstance(value, Sequence):
            names, target = [key], value
        else:
            names, target = list(value), key
        if not all(isinstance(name, str) for name in [*names, key if target is None else target]):
            raise ValueError(
                f"{where} has {key!r}: {value!r}; expected {{teacher class: dataset class}}, {{teacher class: null}} "
                "or {dataset class: [teacher classes]}, with numbers in quotes"
            )
        new = IGNORE if target is None else _find(where, target, "dataset", dataset_classes)[0]
        for name in names:
            for old in _find(where, name, "teacher", teacher_classes):
                if placed.setdefault(old, new) != new:
                    raise ValueError(f"{where} maps the teacher's class {teacher_classes[old]} twice; keep one entry")
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
            f"(its classes: {join_names(classes)}); change teacher.classes, or {setting}"
        )
    return found


def _check_sources(
    teacher_classes: Sequence[str],
    dataset_classes: Sequence[str],
    new_ids: set[int],
    allow_missing: bool,
) -> None:
    better = _best_table(teacher_classes, dataset_classes, more_than=len(new_ids))
    known = {plain(name) for name in TABLES[better]} if better else set()
    lacking = [name for name in dataset_classes if better and plain(name) not in known]
    hint = f"teacher.classes={better}" if better else "'teacher.classes={TEACHER CLASS: DATASET CLASS}'"
    if lacking:  # the table alone would be refused, too
        hint += f" with teacher.allow_missing=true (it has no {', '.join(lacking)})"
    if not new_ids:
        raise ValueError(
            f"none of the teacher's classes ({join_names(teacher_classes)}) is one of the dataset's "
            f"({join_names(dataset_classes)}); set {hint}"
        )
    missing = [name for i, name in enumerate(dataset_classes) if i not in new_ids]
    if missing and not allow_missing:
        raise ValueError(
            f"no class of the teacher becomes {', '.join(missing)} of the dataset; set {hint}, "
            "or teacher.allow_missing=true if the teacher need not label these"
        )


def _best_table(teacher_classes: Sequence[str], dataset_classes: Sequence[str], *, more_than: int) -> str | None:
    """Return the built-in table that fits both label sets and gives the most dataset classes a source.

    Returns None if no table fits, or if none gives more than `more_than` dataset classes a source.
    """
    teacher, dataset = ({plain(name) for name in names} for names in (teacher_classes, dataset_classes))
    fitting = {
        name: len(table)
        for name, table in TABLES.items()
        if {plain(new) for new in table} <= dataset
        and {plain(old) for sources in table.values() for old in sources} <= teacher
    }
    best = max(fitting, key=fitting.__getitem__, default=None)
    return best if best is not None and fitting[best] > more_than else None
