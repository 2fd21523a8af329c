"""Where label maps come from: `store.py` keeps a teacher's, `images.py` reads a dataset's ground truth."""

from typing import Protocol, runtime_checkable

import numpy as np


class LabelSource(Protocol):
    """Label maps by position of the stream."""

    def read(self, position: int) -> np.ndarray:
        """uint8 [H, W] at the source's own size; 255 = ignore."""


@runtime_checkable
class SoftSource(Protocol):
    """Soft labels by position of the stream."""

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes uint8 [k, h, w], 255 for a place that is not used, and probabilities float32 [k, h, w] (there 0)."""


def highest_class(labels: np.ndarray) -> int:
    """The highest class id of uint8 label maps of any shape; -1 where all pixels are ignored.

    >>> highest_class(np.array([[3, 255]], dtype=np.uint8))
    3
    """
    return int((labels + np.uint8(1)).max(initial=0)) - 1  # 255 wraps to 0: one pass, no mask


def resize_nearest(label_HW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Label map at `size` = (height, width): each pixel takes the label under its centre; ids are never mixed.

    >>> resize_nearest(np.array([[0, 1], [2, 3]], dtype=np.uint8), (2, 4))
    array([[0, 0, 1, 1],
           [2, 2, 3, 3]], dtype=uint8)
    """
    height, width = label_HW.shape
    if (height, width) == tuple(size):
        return label_HW
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.int64)
    resized_HW: np.ndarray = label_HW[rows[:, None], columns]
    return resized_HW
