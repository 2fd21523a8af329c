"""Ground truth of videos, one PNG per frame: FOLDER/VIDEO/000000.png, named by frame number, pixels = class ids."""

from pathlib import Path

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels import highest_class
from odkd.data.labels.map_files import check_once, is_same_shape, open_map
from odkd.data.labels.missing_maps import what_is_there
from odkd.data.video.stream import Stream


class ImageLabels:
    """The PNG label maps of a stream: grey values or palette indices are class ids."""

    def __init__(self, folder: Path, stream: Stream, num_classes: int = IGNORE) -> None:
        self._folder, self._stream, self._num_classes = folder, stream, num_classes
        if not folder.is_dir():
            raise ValueError(f"no ground-truth folder {folder}: expected FOLDER/VIDEO/000000.png for each frame")
        missing = [position for position in range(len(stream)) if not self._path(position).is_file()]
        if missing:
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
        with open_map(self._path(position)) as image:
            if image.mode not in ("L", "P"):
                raise ValueError(
                    f"{self._path(position)} is a {image.mode} image; "
                    "expected one byte per pixel, the class id (255 = ignore)"
                )
            label_HW = np.asarray(image, dtype=np.uint8)
        video = self._stream.videos[int(self._stream.video_of[position])]
        if not is_same_shape(label_HW.shape, (video.height, video.width)):
            raise ValueError(
                f"ground truth {self._path(position)} is {label_HW.shape[1]}x{label_HW.shape[0]} pixels, and the video "
                f"{video.width}x{video.height}; expected one aspect ratio: make the maps of upright, whole frames"
            )
        if (highest := highest_class(label_HW)) >= self._num_classes:
            raise ValueError(
                f"ground truth {self._path(position)} holds class ids up to {highest}; expected ids below "
                f"{self._num_classes} or {IGNORE}: set dataset.groundtruth=null, or dataset.classes to its classes"
            )
        return label_HW

    def _path(self, position: int) -> Path:
        video = self._stream.videos[int(self._stream.video_of[position])]
        return self._folder / video.stem / f"{int(self._stream.frame_of[position]):06d}.png"
