"""Ground truth of videos, one PNG per frame: FOLDER/VIDEO/000000.png, named by frame number, pixels = class ids."""

from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE
from odkd.data.labels import highest_class
from odkd.data.video.stream import Stream


class ImageLabels:
    """The PNG label maps of a stream: grey values or palette indices are class ids."""

    def __init__(self, folder: Path, stream: Stream, num_classes: int = IGNORE) -> None:
        self._folder, self._stream, self._num_classes = folder, stream, num_classes
        if not folder.is_dir():
            raise ValueError(f"no ground-truth folder {folder}: expected FOLDER/VIDEO/000000.png for each frame")
        missing = [str(path) for path in map(self._path, range(len(stream))) if not path.is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(stream)} ground-truth maps are missing, the first is {missing[0]}; "
                "add them or set dataset.groundtruth=null"
            )

    def check(self) -> None:
        """Read one map of each video.

        Raises:
            ValueError: the file is no label map.
        """
        for video in range(len(self._stream.videos)):
            positions = np.flatnonzero(self._stream.video_of == video)
            if len(positions):
                self.read(int(positions[0]))

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W] at the map's own size; 255 = ignore.

        Raises:
            ValueError: the file is no label map, or holds ids that the dataset lacks.
        """
        with Image.open(self._path(position)) as image:
            if image.mode not in ("L", "P"):
                raise ValueError(
                    f"{self._path(position)} is a {image.mode} image; "
                    "expected one byte per pixel, the class id (255 = ignore)"
                )
            label_HW = np.asarray(image, dtype=np.uint8)
        if (highest := highest_class(label_HW)) >= self._num_classes:
            raise ValueError(
                f"ground truth {self._path(position)} holds class ids up to {highest}; expected ids below "
                f"{self._num_classes} or {IGNORE}: set dataset.groundtruth=null, or dataset.classes to its classes"
            )
        return label_HW

    def _path(self, position: int) -> Path:
        video = self._stream.videos[int(self._stream.video_of[position])]
        return self._folder / video.stem / f"{int(self._stream.frame_of[position]):06d}.png"
