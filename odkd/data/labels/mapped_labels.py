"""Translation of a teacher's labels to the dataset's ids by a table of classes, and the pixels that this ignores."""

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.common.names import counted
from odkd.data.labels import LabelSource, SoftSource
from odkd.data.labels.mapping import ClassTable


class MappedLabels:
    """A teacher's label maps with the dataset's ids; if every class keeps its id, maps are passed on without a copy."""

    def __init__(self, source: LabelSource, table: ClassTable) -> None:
        self._source, self._table, self._is_identity = source, table, table.is_identity

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W] with ids of the dataset; 255 = ignore."""
        label_HW = self._source.read(position)
        if self._is_identity:
            return label_HW
        mapped_HW: np.ndarray = self._table.ids[label_HW]
        return mapped_HW

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the dataset's classes uint8 [k, h, w], likeliest first, and probabilities float32 [k, h, w].

        255 marks an unused place. A pixel sums to less than 1 by the share, among what is not ignored, of the teacher
        classes beyond the top k. These classes are not stored, so the loss spreads their share evenly over the other
        classes of the dataset.
        """
        assert isinstance(self._source, SoftSource)
        ids_KHW, shares_KHW = self._source.read_soft(position)
        if self._is_identity:
            return ids_KHW, shares_KHW
        return map_top_k(ids_KHW, shares_KHW, self._table)


def map_probabilities(class_ids_KHW: np.ndarray, probabilities_KHW: np.ndarray, table: ClassTable) -> np.ndarray:
    """Return the probabilities of the dataset's C classes from those of the teacher's k likeliest, for each pixel.

    Probabilities of classes that become the same class are added, those of ignored classes are dropped, and the
    remaining ones are normalised.

    Args:
        class_ids_KHW: uint8 [k, h, w], teacher ids; 255 for an unused place.
        probabilities_KHW: floating point [k, h, w].

    Returns:
        float32 [C, h, w]; a pixel sums to 1, or is all zeros if no class remains (it is then not learned from).

    >>> from odkd.data.labels.mapping import class_table
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
    """Return the result of `map_probabilities` as a top k; the share beyond the teacher's top k stays left out.

    >>> from odkd.data.labels.mapping import class_table
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
    """Return {teacher class: pixels} of the classes that the table ignores, most frequent first.

    Args:
        histogram: integer [256], pixels of each teacher id; 255, which the teacher itself ignores, does not count.
    """
    counts = {
        name: int(pixels)
        for name, pixels, new in zip(table.teacher_classes, histogram, table.ids, strict=False)
        if new == IGNORE and pixels > 0
    }
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def unmapped_warning(histogram: np.ndarray, table: ClassTable) -> str | None:
    """Return a warning with the ignored classes and their share of the labelled pixels; None if there are none."""
    counts = count_unmapped(histogram, table)
    if not counts:
        return None
    total = int(histogram[:IGNORE].sum())
    parts = [f"{name} ({counted(pixels, 'pixel')}, {100 * pixels / total:.2g} %)" for name, pixels in counts.items()]
    return (
        f"teacher classes without a class of the dataset are ignored: {', '.join(parts)}; "
        "map those that matter in teacher.classes"
    )
