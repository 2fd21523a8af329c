"""The meaning of the pixels of a label map: grey values, palette indices or colours, as ids of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE
from odkd.data.labels.ids import UNKNOWN, Ids, id_table
from odkd.data.labels.sets import label_set

RED_CHANNEL = "red_channel"  # ids: the class is the red value of an RGB image, as in KITTI-STEP
GREYS = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L")  # modes of Pillow with one number per pixel
OF_COLOURS = '{"255 0 0": 1}'
HINT = f"or, for a colour image, ids with the class of each colour: {OF_COLOURS}"


class PixelValues:
    """Translates label maps to ids of classes, 255 = ignore.

    Args:
        ids: as for `id_table`; besides, `red_channel`, and {colour: class id} for colour images, where a colour is
            "255 0 0" or "#ff0000" and every other colour is ignored. The name of a label set stands for its colours,
            too: where a map is RGB, these count.
        classes: of the dataset.

    Raises:
        ValueError: an invalid entry of `ids`.
    """

    def __init__(self, ids: Ids, classes: Sequence[str]) -> None:
        self._ids, self._classes = ids, list(classes)
        self._is_red = ids == RED_CHANNEL
        self._colours: dict[int, int] | None = None
        self._table: np.ndarray | None = None
        if isinstance(ids, Mapping) and any(isinstance(key, str) for key in ids):
            self._colours = _colours(ids, len(self._classes))
        else:
            self._table = id_table(None if self._is_red else ids, self._classes)
        if isinstance(ids, str) and not self._is_red and self._table is not None:
            self._colours = _colours_of_set(ids, self._table)

    def translate(self, image: Image.Image) -> np.ndarray:
        """Return uint8 [H, W] with ids of the dataset's classes.

        Raises:
            ValueError: what the image is or holds, to follow the name of its file.
        """
        if image.mode in ("RGB", "RGBA") or (self._table is None and image.mode == "P"):
            return self._from_colours(image)
        if image.mode not in GREYS or self._table is None or self._is_red:
            wanted = "a colour image (RGB)" if self._table is None or self._is_red else "one number per pixel"
            raise ValueError(f"is a {image.mode} image; expected {wanted}, as ids={self._ids} says")
        return self.from_numbers(np.asarray(image).astype(np.int64))  # a map of one bit has the values 0 and 1

    def from_numbers(self, values_HW: np.ndarray) -> np.ndarray:
        """Return uint8 [H, W] with ids of the dataset's classes, of an integer array.

        Raises:
            ValueError: a value that has no meaning, to follow the name of the file.
        """
        if self._table is None:
            raise ValueError(f"holds one number per pixel; expected colours, as ids={self._ids} says")
        if values_HW.min(initial=0) < 0 or values_HW.max(initial=0) > IGNORE:
            lowest, highest = values_HW.min(), values_HW.max()
            raise ValueError(f"holds {lowest} to {highest}; expected values of 0 to 255")
        label_HW: np.ndarray = self._table[values_HW]
        if (label_HW == UNKNOWN).any():
            value = int(values_HW[label_HW == UNKNOWN].max())
            meant = self._ids or f"{len(self._classes)} classes of the dataset"
            raise ValueError(f"holds {value}, which is neither an id of {meant} nor {IGNORE}")
        ids_HW: np.ndarray = label_HW.astype(np.uint8)
        return ids_HW

    def _from_colours(self, image: Image.Image) -> np.ndarray:
        if self._colours is None and not self._is_red:
            hint = f"or ids={RED_CHANNEL}, because its channels are equal" if is_grey(image) else HINT
            raise ValueError(
                f"is a {image.mode} image; expected one byte per pixel, the class id (255 = ignore), {hint}"
            )
        if image.mode == "RGBA" and (np.asarray(image)[..., 3] != 255).any():
            raise ValueError("is a partly transparent image; expected a colour in every pixel")
        rgb_HWC = np.asarray(image.convert("RGB")).astype(np.int32)
        if self._is_red:
            return self.from_numbers(rgb_HWC[..., 0].astype(np.uint8))
        assert self._colours is not None
        codes, place = np.unique(rgb_HWC @ np.array([65536, 256, 1], np.int32), return_inverse=True)
        new = np.array([self._colours.get(int(code), IGNORE) for code in codes], np.uint8)
        label_HW: np.ndarray = new[place].reshape(rgb_HWC.shape[:2])
        return label_HW


def is_grey(image: Image.Image) -> bool:
    """Return True if the three channels of an RGB image are equal: its red channel is the map."""
    if not image.mode.startswith("RGB"):
        return False
    rgb_HWC = np.asarray(image)[..., :3]
    return bool((rgb_HWC == rgb_HWC[..., :1]).all())


def check_ids(ids: Ids, classes: Sequence[str]) -> None:
    """Check a setting `ids`.

    Raises:
        ValueError: there is no such label set, an entry is invalid, or a value and a colour stand side by side.
    """
    PixelValues(ids, classes)


def _colours(ids: Mapping[Any, Any], num_classes: int) -> dict[int, int]:
    """Return {65536 R + 256 G + B: class id}."""
    found: dict[int, int] = {}
    for key, new in ids.items():
        code = _code(key)
        is_class = type(new) is int and (0 <= new < num_classes or new == IGNORE)
        if code is None or not is_class or found.get(code, new) != new:
            raise ValueError(
                f"ids {{{key!r}: {new}}}; expected each colour once, as '255 0 0' or '#ff0000', and its class id 0 to "
                f"{num_classes - 1}, or 255"
            )
        found[code] = new
    return found


def _code(colour: object) -> int | None:
    if not isinstance(colour, str):
        return None
    if re.fullmatch("#[0-9a-fA-F]{6}", colour):
        return int(colour[1:], 16)
    numbers = re.fullmatch(r"\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*", colour)
    rgb = [int(number) for number in numbers.groups()] if numbers else [256]
    return None if max(rgb) > 255 else 65536 * rgb[0] + 256 * rgb[1] + rgb[2]


def _colours_of_set(name: str, table: np.ndarray) -> dict[int, int] | None:
    """Return the classes of a label set's colours; None if it has none of its own, or one for several classes."""
    try:
        palette = label_set(name).palette
    except ValueError:  # numbers of COCO, which no palette belongs to
        return None
    found: dict[int, int] = {}
    for (red, green, blue), new in zip(palette, table[: len(palette)].tolist(), strict=True):
        if found.setdefault(65536 * red + 256 * green + blue, new) != new:
            return None
    return found
