"""Translation of the values in label PNGs to the dataset's classes: ids of another set, or COCO panoptic segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE
from odkd.common.reading import read_json
from odkd.data.labels.mapping import class_table
from odkd.data.labels.sets import label_set

MOST_ANNOTATIONS = 2**30  # bytes; those of COCO have 350 million
UNKNOWN = -1  # in a table: a value that must not occur
COCO_LEFT_OUT = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # COCO ids 1-182 without a class
Ids = str | Mapping[Any, Any] | None  # tables: {value: class id}, or for PixelValues {colour: class id}


def with_numbers(ids: Any) -> Any:
    """Return `ids` with numbers for texts of digits among the keys: JSON, as in a store's recipe, has only texts."""
    if not isinstance(ids, Mapping):
        return ids
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: new for key, new in ids.items()}


def id_table(ids: Ids, classes: Sequence[str]) -> np.ndarray:
    """Return int16 [256], the class of each value of a label map; 255 = ignore, -1 = the value must not occur.

    Args:
        ids: what the values mean. None: they are the ids of the dataset's classes. The name of a label set: they are
            that set's ids, matched by class name (classes that the dataset lacks are ignored). `coco_stuff_pixels`:
            they are COCO's category ids minus one, as in stuffthingmaps. `from_one`: they are the ids of the dataset's
            classes plus one, and 0 is ignored, as in ADE20K and VSPW. {value: class id}: every other value is ignored.
        classes: of the dataset.

    >>> id_table("cityscapes_ids", label_set("cityscapes").classes)[[0, 7, 26, 255, 99]]
    array([255,   0,  13, 255,  -1], dtype=int16)

    Raises:
        ValueError: there is no such set, or the dataset lacks a class id.
    """
    table = np.full(256, UNKNOWN, np.int16)
    table[IGNORE] = IGNORE
    if ids is None:
        table[: len(classes)] = np.arange(len(classes))
    elif ids == "from_one":
        table[0] = IGNORE
        table[1 : len(classes) + 1] = np.arange(len(classes))
    elif isinstance(ids, str):
        values = [i - 1 for i in range(1, 183) if i not in COCO_LEFT_OUT]
        names = label_set("coco_stuff" if ids == "coco_stuff_pixels" else ids).classes
        values = values if ids == "coco_stuff_pixels" else list(range(len(names)))
        table[values] = class_table(names, classes, None, allow_missing=True).ids[: len(names)]
    else:
        if wrong := [f"{value}: {new}" for value, new in ids.items() if not _is_entry(value, new, len(classes))]:
            raise ValueError(f"ids {{{wrong[0]}}}; expected value 0 to 255: class id 0 to {len(classes) - 1}, or 255")
        table[:] = IGNORE
        table[list(ids)] = list(ids.values())
    return table


class PanopticIds:
    """COCO's panoptic annotation: a colour encodes a segment id, R + 256 G + 65536 B, whose class is in a JSON file.

    Args:
        path: the JSON file.
        classes: of the dataset; the file's categories are matched by name, the rest are ignored.

    Raises:
        ValueError: the file is no panoptic annotation.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        try:
            content = read_json(path, most=MOST_ANNOTATIONS)
            categories = {int(entry["id"]): str(entry["name"]) for entry in content["categories"]}
            segments = {
                str(picture["file_name"]): {int(s["id"]): int(s["category_id"]) for s in picture["segments_info"]}
                for picture in content["annotations"]
            }
            if any(not 0 <= segment < 2**24 for found in segments.values() for segment in found):
                raise ValueError("a segment has an id that no colour can have")
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(
                f"{path} is no panoptic annotation ({type(error).__name__}: {error}); expected COCO's "
                "panoptic_*.json with categories and annotations.segments_info"
            ) from error
        ids = class_table(list(categories.values()), classes, None, allow_missing=True).ids
        class_of = dict(zip(categories, ids.tolist(), strict=False))
        self._path = path
        self._segments = {
            name: (
                np.array(sorted(found), np.int64),
                np.array([class_of.get(found[segment], IGNORE) for segment in sorted(found)], np.uint8),
            )
            for name, found in segments.items()
        }

    def translate(self, path: Path, image: Image.Image) -> np.ndarray:
        """Return uint8 [H, W] with the dataset's class ids, 255 where there is no segment.

        Raises:
            ValueError: the image is not RGB, or the JSON file lacks one of its segments.
        """
        if image.mode != "RGB":
            raise ValueError(f"{path} is a {image.mode} image; expected the colours of panoptic segments (RGB)")
        if path.name not in self._segments:
            raise ValueError(
                f"{path.name} is not among the annotations of {self._path}; check that both are from one download"
            )
        ids, classes = self._segments[path.name]
        red, green, blue = np.moveaxis(np.asarray(image).astype(np.int64), 2, 0)
        segment_HW = red + 256 * green + 65536 * blue
        place_HW = np.searchsorted(ids, segment_HW).clip(0, max(len(ids) - 1, 0))
        is_known_HW = np.zeros_like(segment_HW, bool) if not len(ids) else ids[place_HW] == segment_HW
        if not (is_known_HW | (segment_HW == 0)).all():
            segment = int(segment_HW[~is_known_HW & (segment_HW != 0)][0])
            raise ValueError(
                f"{path} has a segment {segment} that {self._path} does not list; check that both are from one download"
            )
        label_HW = np.full(segment_HW.shape, IGNORE, np.uint8)
        label_HW[is_known_HW] = classes[place_HW[is_known_HW]]
        return label_HW


def _is_entry(value: object, new: object, num_classes: int) -> bool:
    return (
        type(value) is int and 0 <= value <= IGNORE and type(new) is int and (0 <= new < num_classes or new == IGNORE)
    )
