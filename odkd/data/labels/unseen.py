"""A warning about masks of 0 and 255: a class never occurs, and much is 255, which odkd takes for "ignore"."""

from collections.abc import Callable, Sequence

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.common.names import counted
from odkd.data.labels.class_names import join_names

MUCH = 0.01  # share of the pixels; below it, 255 is the border of objects or a few odd pixels


def count_values(
    read: Callable[[int], np.ndarray | None], positions: Sequence[int], num_classes: int
) -> np.ndarray | None:
    """Return the pixels of each id over all maps, int64 [256]; None as soon as every class has occurred.

    Args:
        read: returns the map of a position, uint8 [H, W], or None if it has none.
    """
    counts = np.zeros(256, np.int64)
    for position in positions:
        if (label_HW := read(position)) is not None:
            counts += np.bincount(label_HW.reshape(-1), minlength=256)
            if counts[:num_classes].all():
                return None
    return counts


def unseen_warning(counts: np.ndarray, classes: Sequence[str], setting: str, *, is_set: bool = False) -> str | None:
    """Return a warning if a class never occurs and much is ignored, else None.

    Args:
        counts: int64 [256], pixels of each id.
        setting: what gives 255 a meaning, with {} for the table: `dataset.ids={}`.
        is_set: the command has such a setting, which gives no class to what is ignored.

    >>> counts = np.bincount([0, 0, 0, 255], minlength=256)
    >>> unseen_warning(counts, ["background", "car"], "ids={}").partition("; ")[0]
    'of 2 classes car never occurs, and 25 % of the pixels are 255 (ignored)'
    """
    unseen = [number for number in range(len(classes)) if not counts[number]]
    total, num_ignored = int(counts.sum()), int(counts[IGNORE])
    is_binary = len(classes) - len(unseen) <= 1  # one value and 255: a mask, however small its objects are
    if not unseen or not num_ignored or (num_ignored < MUCH * total and not is_binary):
        return None
    names = join_names([classes[number] for number in unseen])
    share = "100" if num_ignored > 0.995 * total else f"{100 * num_ignored / total:.2g}"
    entries = [f"{number}: {number}" for number in range(len(classes)) if counts[number]]
    table = "{" + ", ".join([*entries, f"{IGNORE}: {unseen[0]}"]) + "}"
    advice = f"if 255 is a class: {setting.format(table)}"
    if is_set:
        place = setting.replace("={}", "").replace(": {}", "")
        advice = f"they have values or colours to which {place} gives no class: correct it, or leave out such classes"
    return (
        f"of {counted(len(classes), 'class')} {names} never {'occurs' if len(unseen) == 1 else 'occur'}, and "
        f"{share} % of the pixels are 255 (ignored); {advice}"
    )
