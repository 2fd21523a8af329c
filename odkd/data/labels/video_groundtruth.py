"""Ground truth of videos, one PNG per frame: FOLDER/VIDEO/000000.png, named by frame number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE
from odkd.data.labels import highest_class
from odkd.data.labels.ids import Ids
from odkd.data.labels.map_files import check_once, is_same_shape, open_map, refuse_other_than_file
from odkd.data.labels.missing_maps import what_is_there
from odkd.data.labels.pixel_values import GREYS, OF_COLOURS, RED_CHANNEL, PixelValues, is_grey
from odkd.data.video.index import VideoIndex
from odkd.data.video.stream import Stream


class ImageLabels:
    """The PNG label maps of a stream.

    Args:
        classes: of the dataset.
        ids: the meaning of pixels, see `PixelValues`; None = grey values or palette indices are class ids.

    Raises:
        ValueError: a map is missing, or `ids` is invalid.
    """

    def __init__(self, folder: Path, stream: Stream, classes: Sequence[str], ids: Ids = None) -> None:
        self._folder, self._stream, self._num_classes = folder, stream, len(classes)
        self._values = None if ids is None else PixelValues(ids, classes)
        if not folder.is_dir():
            raise ValueError(f"no ground-truth folder {folder}: expected FOLDER/VIDEO/000000.png for each frame")
        missing = [position for position in range(len(stream)) if not self._path(position).is_file()]
        if missing:
            for position in missing:
                refuse_other_than_file(self._path(position), "ground truth")
            first = self._path(missing[0])
            numbers = stream.frame_of[stream.video_of == stream.video_of[missing[0]]]
            there = what_is_there(first.parent, sorted(map(int, numbers)), (".png",))
            raise ValueError(
                f"{len(missing)} of {len(stream)} ground-truth maps are missing, the first is {first}; "
                f"add them or set dataset.groundtruth=null ({there})"
            )

    def check(self, note: Path) -> None:
        """Read each map, unless `note` says that these have been read; write the note.

        Raises:
            ValueError: a file is no label map.
        """
        check_once(self.read, range(len(self._stream)), note)

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W] at the map's own size; 255 = ignore.

        Raises:
            ValueError: the file is no label map, holds ids that the dataset lacks, or has another shape than the video.
        """
        label_HW = self._read(position)
        video = self._stream.videos[int(self._stream.video_of[position])]
        assert isinstance(video, VideoIndex)
        if not any(is_same_shape(label_HW.shape, shape) for shape in video.shapes):
            raise ValueError(
                f"ground truth {self._path(position)} is {label_HW.shape[1]}x{label_HW.shape[0]} pixels, and the video "
                f"{video.width}x{video.height}; expected one aspect ratio: make the maps of upright, whole frames"
            )
        if (highest := highest_class(label_HW)) >= self._num_classes:
            raise ValueError(
                f"ground truth {self._path(position)} holds class ids up to {highest}; expected ids below "
                f"{self._num_classes} or {IGNORE}: set dataset.groundtruth=null, dataset.classes to its classes, or "
                "dataset.ids to their meaning"
            )
        return label_HW

    as_it_lies = read

    def _read(self, position: int) -> np.ndarray:
        with open_map(self._path(position)) as image:
            if self._values is not None:
                return self._translate(self._values, position, image)
            if image.mode not in GREYS:
                raise ValueError(
                    f"{self._path(position)} is a {image.mode} image; expected one byte per pixel, the class id "
                    f"(255 = ignore){_advice(image)}"
                )
            values_HW = np.asarray(image)
            if (highest := values_HW.max(initial=0)) > IGNORE:
                raise ValueError(f"{self._path(position)} holds values up to {highest}; expected class ids below 256")
            return values_HW.astype(np.uint8)

    def _translate(self, values: PixelValues, position: int, image: Image.Image) -> np.ndarray:
        try:
            return values.translate(image)
        except ValueError as error:
            raise ValueError(f"ground truth {self._path(position)} {error}: change dataset.ids") from error

    def _path(self, position: int) -> Path:
        video = self._stream.videos[int(self._stream.video_of[position])]
        return self._folder / video.stem / f"{int(self._stream.frame_of[position]):06d}.png"


def _advice(image: Image.Image) -> str:
    if is_grey(image):
        return f", or set dataset.ids={RED_CHANNEL}, because its channels are equal"
    return f", or set dataset.ids to the classes of its colours: {OF_COLOURS}" if image.mode.startswith("RGB") else ""
