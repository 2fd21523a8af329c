"""Fitting of images of any shape to one working size: stretch, crop or pad, alike for an image and its label map.

The visible part of an image depends only on the aspect ratio of the dataset's size, so that a teacher that works at
another size sees the same part as the student.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE

Fit = Literal["stretch", "crop", "pad"]
FITS: tuple[str, ...] = get_args(Fit)


@dataclass(frozen=True)
class Placement:
    """The visible part of an image, in its own pixels, and the rows and columns of the result that it fills."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    rows: slice
    columns: slice


def placement(source: tuple[int, int], *, shape: tuple[int, int], size: tuple[int, int], fit: Fit) -> Placement:
    """Return where an image of size `source` goes in a result of size `size`.

    stretch: the full image, scaled to the size. crop: the largest centred part with the aspect ratio. pad: the full
    image with its aspect ratio kept, centred between two bars.

    Args:
        source: (height, width) of the image.
        shape: (height, width) whose aspect ratio counts: that of the dataset.
        size: (height, width) of the result.

    >>> placement((100, 200), shape=(1, 1), size=(50, 50), fit="crop")
    Placement(box=(50.0, 0.0, 150.0, 100.0), rows=slice(0, 50, None), columns=slice(0, 50, None))
    >>> placement((100, 200), shape=(1, 1), size=(50, 50), fit="pad").rows
    slice(12, 37, None)
    """
    (height, width), whole = source, (slice(0, size[0]), slice(0, size[1]))
    ratio = (width / height) / (shape[1] / shape[0])  # above 1: wider than the shape
    if fit == "crop":
        seen_height, seen_width = height * min(1.0, ratio), width * min(1.0, 1 / ratio)
        left, top = (width - seen_width) / 2, (height - seen_height) / 2
        return Placement((left, top, left + seen_width, top + seen_height), *whole)
    box = (0.0, 0.0, float(width), float(height))
    if fit == "pad":
        return Placement(box, _middle(size[0], min(1.0, 1 / ratio)), _middle(size[1], min(1.0, ratio)))
    return Placement(box, *whole)


def fit_picture(picture: Image.Image, place: Placement, size: tuple[int, int]) -> np.ndarray:
    """Return an RGB image fitted to `size`: uint8 [H, W, 3]; bars are black. Bilinear, averaging where it shrinks."""
    image_HWC = np.zeros((*size, 3), np.uint8)
    inner = (place.columns.stop - place.columns.start, place.rows.stop - place.rows.start)
    scaled = picture.resize(inner, Image.Resampling.BILINEAR, box=place.box)
    image_HWC[place.rows, place.columns] = np.asarray(scaled)
    return image_HWC


def stretched(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Return an RGB image scaled to `size`, whatever its aspect ratio: uint8 [H, W, 3]."""
    place = placement((picture.height, picture.width), shape=size, size=size, fit="stretch")
    return fit_picture(picture, place, size)


def fit_label(label_HW: np.ndarray, place: Placement, size: tuple[int, int]) -> np.ndarray:
    """Return a label map fitted to `size`: uint8 [H, W]; each pixel takes the label under its centre, bars are 255.

    Cropped boxes begin between pixels, so the integer rule of `odkd.data.labels.under_centres` does not apply here.
    """
    left, top, right, bottom = place.box
    num_rows, num_columns = place.rows.stop - place.rows.start, place.columns.stop - place.columns.start
    rows = (top + (np.arange(num_rows) + 0.5) * (bottom - top) / num_rows).astype(np.int64)
    columns = (left + (np.arange(num_columns) + 0.5) * (right - left) / num_columns).astype(np.int64)
    fitted_HW = np.full(size, IGNORE, np.uint8)
    fitted_HW[place.rows, place.columns] = label_HW[rows[:, None], columns]
    return fitted_HW


def _middle(length: int, share: float) -> slice:
    inner = max(1, round(length * share))
    start = (length - inner) // 2
    return slice(start, start + inner)
