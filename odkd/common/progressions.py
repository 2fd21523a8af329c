"""Long lists of whole numbers as arithmetic progressions: files about a million frames stay small and quick to read."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from odkd.common.files import json_digest

LONG = 4096  # numbers above which a list is stored as progressions; shorter ones are easier to read as they are


def packed(name: str, numbers: np.ndarray) -> dict[str, list[Any]]:
    """Return an entry for JSON: {name: numbers}, or {name_progressions: ...} if they are many and regular."""
    if len(numbers) > LONG:
        cuts = np.flatnonzero(np.diff(np.diff(numbers))) + 1  # numbers at which the step changes
        if len(cuts) < len(numbers) // 16:
            return {f"{name}_progressions": _progressions(numbers, cuts)}
    return {name: numbers.tolist()}


def unpacked(name: str, record: dict[str, Any]) -> np.ndarray:
    """Return int64 [n], the numbers that `packed` put into a record.

    >>> unpacked("a", {"a_progressions": [[0, 5, 3], [100, 1, 2]]})
    array([  0,   5,  10, 100, 101])
    """
    if name in record:
        return np.asarray(record[name], np.int64)
    return np.concatenate([first + step * np.arange(count) for first, step, count in record[f"{name}_progressions"]])


def num_packed(name: str, record: dict[str, Any]) -> int:
    """Return how many numbers `packed` put into a record."""
    return len(record[name]) if name in record else sum(count for *_, count in record[f"{name}_progressions"])


def list_digest(numbers: np.ndarray) -> str:
    """Return `json_digest` of a list of whole numbers, without making a text of each.

    >>> list_digest(np.array([7, 12, 1000])) == json_digest([7, 12, 1000])
    True
    """
    if len(numbers) <= LONG or numbers.min() < 0:
        return json_digest(numbers.tolist())
    return hashlib.sha256(json_bytes(numbers)).hexdigest()


def json_bytes(numbers: np.ndarray) -> bytes:
    """Return the compact JSON of int64 [n], n > 0, none of them negative.

    >>> json_bytes(np.array([0, 10]))
    b'[0,10]'
    """
    width = len(str(int(numbers.max())))
    text = np.full((len(numbers), width + 1), ord(","), np.uint8)
    is_shown = np.ones(text.shape, bool)
    rest = numbers
    for column in reversed(range(width)):
        is_shown[:, column] = (rest > 0) | (column == width - 1)
        text[:, column] = ord("0") + rest % 10
        rest = rest // 10
    return b"[" + text[is_shown].tobytes()[:-1] + b"]"


def _progressions(numbers: np.ndarray, cuts: np.ndarray) -> list[list[int]]:
    found: list[list[int]] = []
    first, ends = 0, np.append(cuts, len(numbers) - 1)
    while first < len(numbers):
        last = int(ends[np.searchsorted(ends, first + 1)]) if first + 1 < len(numbers) else first
        step = int(numbers[min(first + 1, last)] - numbers[first])
        found.append([int(numbers[first]), step, last - first + 1])
        first = last + 1
    return found


def extend(stretches: list[list[int]], rows: Sequence[int]) -> None:
    """Add rows to the end of a list of progressions [first, 1, count].

    >>> stretches = [[0, 1, 3]]
    >>> extend(stretches, [3, 4, 7])
    >>> stretches
    [[0, 1, 5], [7, 1, 1]]
    """
    for row in rows:
        if stretches and row == stretches[-1][0] + stretches[-1][2]:
            stretches[-1][2] += 1
        else:
            stretches.append([row, 1, 1])


def stretches_entry(name: str, stretches: list[list[int]]) -> dict[str, list[Any]]:
    """Return the entry for JSON of a list that `extend` made, as `packed` writes it."""
    if sum(count for *_, count in stretches) > LONG:
        return {f"{name}_progressions": stretches}
    return {name: [row for first, _, count in stretches for row in range(first, first + count)]}
