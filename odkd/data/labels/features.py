"""Features of a teacher's layers, kept in its label store: what is stored, and under which name.

    features-LAYER-whole-256x12x20/     float16 [n, C, h, w], as the layer gives them
    features-LAYER-pooled-256x6x10/     averaged over the places of a smaller map

A frame takes C x h x w x 2 bytes before compression, which saves little: features are noise to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote, unquote

import numpy as np

if TYPE_CHECKING:  # settings are checked without the codecs of arrays
    from odkd.data.labels.shards import FrameArray

LONGEST_LAYER = 180  # letters of its name in that of a folder
MOST_NUMBERS = 2**28  # of a frame
NAME = re.compile(r"features-(.+)-(whole|pooled)-(\d{1,7})x(\d{1,7})x(\d{1,7})")


@dataclass(frozen=True)
class FeatureKind:
    """The features that are wanted.

    Args:
        layer: of the teacher's network.
        size: (height, width) to which they are averaged; None = as the layer gives them.
    """

    layer: str
    size: tuple[int, int] | None = None

    @property
    def is_storable(self) -> bool:
        """True if the layer's name fits into that of a folder."""
        return 0 < len(quote(self.layer, safe="")) <= LONGEST_LAYER

    def folder(self, shape: tuple[int, ...]) -> str:
        """Return the name of the folder of an array whose frames have a shape (C, h, w).

        >>> FeatureKind("encoder.layer4", (6, 10)).folder((256, 6, 10))
        'features-encoder.layer4-pooled-256x6x10'
        """
        form: Literal["whole", "pooled"] = "whole" if self.size is None else "pooled"
        return f"features-{quote(self.layer, safe='')}-{form}-{'x'.join(map(str, shape))}"


def parse(folder: str) -> tuple[FeatureKind, tuple[int, int, int]] | None:
    """Return what a folder's name denotes: the kind of features, and the shape of a frame; None for another folder."""
    found = NAME.fullmatch(folder)
    if found is None:
        return None
    channels, height, width = (int(number) for number in found.groups()[2:])
    if not 0 < math.prod((channels, height, width)) <= MOST_NUMBERS:
        return None
    return FeatureKind(unquote(found[1]), (height, width) if found[2] == "pooled" else None), (channels, height, width)


class StoredFeatures:
    """The features in a label store.

    Args:
        folder: of the store.
        make: returns the store's array of a name, shape of a frame, and dtype.
    """

    def __init__(self, folder: Path, make: Callable[[str, tuple[int, ...], str], FrameArray]) -> None:
        self._folder, self._make = folder, make
        self._arrays: dict[FeatureKind, FrameArray] = {}

    @property
    def kinds(self) -> dict[FeatureKind, tuple[int, int, int]]:
        """The kinds that are stored, completely or in part, each with its shape (C, h, w)."""
        return dict(sorted(filter(None, (parse(path.name) for path in self._folder.glob("features-*"))), key=str))

    def array(self, kind: FeatureKind) -> FrameArray | None:
        """Return the array of a kind, or None if none is there yet."""
        if kind not in self._arrays and kind in (found := self.kinds):
            self._arrays[kind] = self._make(kind.folder(found[kind]), found[kind], "float16")
        return self._arrays.get(kind)

    def arrays(self) -> list[FrameArray]:
        """Return the arrays of all kinds."""
        return [array for array in map(self.array, self.kinds) if array is not None]

    def read(self, frame: int, kind: FeatureKind) -> np.ndarray:
        """Return float16 [C, h, w].

        Raises:
            KeyError: the frame has no such features.
            DamagedLabelsError: they fail their checksum.
        """
        array = self.array(kind)
        if array is None:
            raise KeyError(f"{self._folder} has no features of {kind.layer}")
        return array.read(frame)

    def write(self, shard: int, rows: Mapping[int, Mapping[FeatureKind, np.ndarray]]) -> None:
        """Add the features of frames to a shard."""
        for kind in dict.fromkeys(kind for row in rows.values() for kind in row):
            given = {frame: row[kind] for frame, row in rows.items()}
            shape = next(iter(given.values())).shape
            array = self.array(kind) or self._make(kind.folder(shape), shape, "float16")
            if not (array.folder / "zarr.json").is_file():
                array.create({})
            array.write(shard, given)


class FeatureSource(Protocol):
    """A source of a teacher's features by position in the stream."""

    def read_features(self, position: int, kind: FeatureKind) -> np.ndarray:
        """Return float16 [C, h, w]."""
