"""Label maps by position: what a source of them offers, and how a map is resized.

`store.py` keeps the labels of teachers and students; `video_groundtruth.py` and `image_groundtruth.py` read those of a
dataset.
"""

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import, and tables of classes do without it
    from torch import Tensor

Integers = TypeVar("Integers", np.ndarray, "Tensor")


class LabelSource(Protocol):
    """A source of label maps by position in the stream."""

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W] at the source's own size; 255 = ignore."""


@runtime_checkable
class SoftSource(Protocol):
    """A source of soft labels by position in the stream."""

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return classes uint8 [k, h, w] and probabilities float32 [k, h, w]; 255 and 0 in an unused place."""


def highest_class(labels: np.ndarray) -> int:
    """Return the highest class id of uint8 label maps of any shape; -1 if all pixels are ignored.

    >>> highest_class(np.array([[3, 255]], dtype=np.uint8))
    3
    """
    return int((labels + np.uint8(1)).max(initial=0)) - 1  # 255 wraps to 0: one pass, no mask


def under_centres(pixels: Integers, old_length: int, new_length: int) -> Integers:
    """Return the old pixel under the centre of each new pixel, along one axis that is resized.

    This is the one rule by which label maps are resized. It is computed in integers, floor((2 i + 1) old / (2 new)), so
    that every library and device agrees where a centre lies on the border of two pixels: the later pixel counts.

    Args:
        pixels: int64 numbers i of new pixels, as numpy array or tensor on any device.

    >>> under_centres(np.arange(2), 4, 2)
    array([1, 3])
    """
    return (2 * pixels + 1) * old_length // (2 * new_length)


def resize_nearest(label_HW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the label map at `size` = (height, width); each pixel takes the label under its centre, ids never mix.

    >>> resize_nearest(np.array([[0, 1], [2, 3]], dtype=np.uint8), (2, 4))
    array([[0, 0, 1, 1],
           [2, 2, 3, 3]], dtype=uint8)
    """
    if label_HW.shape == tuple(size):
        return label_HW
    rows, columns = (
        under_centres(np.arange(new, dtype=np.int64), old, new) for old, new in zip(label_HW.shape, size, strict=True)
    )
    resized_HW: np.ndarray = label_HW[rows[:, None], columns]
    return resized_HW
