"""Ground truth of image collections: PNGs found by the image's name, ids translated, fitted like the image."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE
from odkd.data.labels.ids import Ids, PanopticIds
from odkd.data.labels.map_files import check_once, open_map, refuse_other_than_file
from odkd.data.labels.pixel_values import PixelValues
from odkd.data.video.image_index import ImageIndex
from odkd.data.video.patterns import compiled, fill, words_of
from odkd.data.video.stream import Stream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelFiles:
    """One possible place of an image's label map: a file-name pattern, and the meaning of pixel values."""

    files: str
    ids: Ids

    @property
    def is_panoptic(self) -> bool:
        """True if `ids` is the pattern of a panoptic JSON file."""
        return isinstance(self.ids, str) and self.ids.endswith(".json")


class PictureLabels:
    """The label maps of a stream of images; an image without a map is ignored everywhere (255).

    Args:
        pattern: of the images, below the dataset's folder (`dataset.pictures`).
        places: where maps may lie; the first existing file counts (`dataset.groundtruth`).

    Raises:
        ValueError: a place uses words that the pattern lacks, or has invalid ids; two images have one map.
    """

    def __init__(
        self, stream: Stream, root: Path, pattern: str, places: Sequence[LabelFiles], classes: Sequence[str]
    ) -> None:
        self._stream, self._root, self._places, self._classes = stream, root, places, list(classes)
        for place in places:
            texts = [place.files, place.ids if isinstance(place.ids, str) else ""]
            if unknown := sorted(set().union(*map(words_of, texts)) - words_of(pattern)):
                raise ValueError(
                    f"dataset.groundtruth names {{{unknown[0]}}}, which dataset.pictures={pattern} does not have"
                )
        self._values = [None if place.is_panoptic else PixelValues(place.ids, classes) for place in places]
        self._panoptic: dict[Path, PanopticIds] = {}
        self._turn = threading.Lock()
        words = compiled(pattern)
        self._found = [self._find(words, stream.name_of(position)) for position in range(len(stream))]
        self._check_shared()

    def _check_shared(self) -> None:
        """Refuse two images with one label map, such as a.jpg and a.png."""
        image_of: dict[Path, str] = {}
        for position, found in enumerate(self._found):
            name = self._stream.name_of(position)
            if found is not None and (other := image_of.setdefault(found[0], name)) != name:
                raise ValueError(
                    f"{other} and {name} have one label map, {found[0]}; expected one for each: remove a copy, or "
                    "change dataset.pictures or dataset.groundtruth"
                )

    @property
    def num_there(self) -> int:
        """The number of images with a label map."""
        return sum(found is not None for found in self._found)

    @property
    def files(self) -> list[Path]:
        """All files that are read: label maps and panoptic JSON files."""
        found = [entry for entry in self._found if entry is not None]
        tables = {table for _, number, words in found if (table := self._table_file(number, words)) is not None}
        return sorted({path for path, _, _ in found} | tables)

    def check(self, note: Path) -> None:
        """Read each map, unless `note` says that these have been read; warn about images without a map.

        Raises:
            ValueError: a file is no label map.
        """
        check_once(self.read, (position for position, found in enumerate(self._found) if found is not None), note)
        for number, source in enumerate(self._stream.videos):
            positions = np.flatnonzero(self._stream.video_of == number).tolist()
            there = [position for position in positions if self._found[position] is not None]
            if len(there) < len(positions):
                logger.warning(
                    "%d of %d images of %s have no label map; they count as unlabelled",
                    len(positions) - len(there),
                    len(positions),
                    source.stem,
                )

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W] at the dataset's size.

        Raises:
            ValueError: the file is no label map, holds ids that the dataset lacks, or differs in shape from the image.
        """
        index = self._stream.videos[int(self._stream.video_of[position])]
        assert isinstance(index, ImageIndex)
        label_HW = self.as_it_lies(position)
        if label_HW is None:
            return np.full((index.height, index.width), IGNORE, np.uint8)
        try:
            return index.fit_label(int(self._stream.frame_of[position]), label_HW)
        except ValueError as error:
            found = self._found[position]
            raise ValueError(f"ground truth {found and found[0]} is {error}") from error

    def as_it_lies(self, position: int) -> np.ndarray | None:
        """Return uint8 [H, W] at the map's own size; None if the image has no map.

        Raises:
            ValueError: the file is no label map, or holds ids that the dataset lacks.
        """
        found = self._found[position]
        if found is None:
            return None
        path, number, words = found
        with open_map(path) as image:
            table_file = self._table_file(number, words)
            if table_file is None:
                return self._translate(path, image, number)
            with self._turn:  # threads check maps: one reads a table, which may be large
                if table_file not in self._panoptic:
                    self._panoptic[table_file] = PanopticIds(table_file, self._classes)
            return self._panoptic[table_file].translate(path, image)

    def _translate(self, path: Path, image: Image.Image, number: int) -> np.ndarray:
        values = self._values[number]
        assert values is not None
        try:
            return values.translate(image)
        except ValueError as error:
            raise ValueError(
                f"ground truth {path} {error}: change ids in dataset.groundtruth or dataset.classes, or set "
                "dataset.groundtruth=null"
            ) from error

    def _find(self, pattern: re.Pattern[str], name: str) -> tuple[Path, int, Mapping[str, str]] | None:
        found = pattern.fullmatch(name)
        assert found is not None, name
        words = found.groupdict()
        for number, place in enumerate(self._places):
            path = self._root / fill(place.files, words)
            if not path.is_file():
                refuse_other_than_file(path, "ground truth")
            else:
                table = self._table_file(number, words)
                if table is not None and not table.is_file():
                    raise ValueError(f"{path} exists, but not {table}, which says what its segments are; download it")
                return path, number, words
        return None

    def _table_file(self, number: int, words: Mapping[str, str]) -> Path | None:
        place = self._places[number]
        return self._root / fill(str(place.ids), words) if place.is_panoptic else None
