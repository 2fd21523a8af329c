"""A folder of images that grows as a live source: each image is a frame, which comes when its file is complete."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from odkd.data.video.arrivals import Arrival
from odkd.data.video.image_index import IMAGE_SUFFIXES, read_picture
from odkd.data.video.listing import natural
from odkd.data.video.sizes import brought_to

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.02  # between two looks at the folder
SLOW_SECONDS = 1.0  # in which a file may grow before it counts as damaged


class Growing:
    """Images in the natural order of their names; of those that are there when it begins, the last is the first frame.

    Args:
        folder: of the images.
        size: (height, width) of the student.
        stride: images from one sampled image to the next.
        patience: seconds without a new image after which the source ends.

    Raises:
        ValueError: there is no such folder.
    """

    def __init__(self, folder: Path, *, size: tuple[int, int], stride: int, patience: float) -> None:
        if not folder.is_dir():
            raise ValueError(f"stage.source={folder}: no such folder; expected a folder of images that grows")
        self._folder, self._size, self._stride, self._patience = folder, size, stride, patience
        self._closed = threading.Event()
        there = self._names()
        self._seen: set[str] = set()
        self.frame_size = size if not there else read_picture(folder / there[-1]).size[::-1]
        self.state = "running"

    def arrivals(self) -> Iterator[Arrival]:
        """Yield each image when its file is complete, until none comes any more."""
        number, last = 0, time.monotonic()
        self._seen.update(self._names()[:-1])
        first_tried: dict[str, float] = {}
        while not self._closed.is_set():
            for name in [name for name in self._names() if name not in self._seen]:
                image_HWC = self._read(name)
                if image_HWC is None:  # it may still be written
                    tried = first_tried.setdefault(name, time.monotonic())
                    if time.monotonic() - tried < SLOW_SECONDS:
                        break
                    logger.warning("left out: %s cannot be read as an image", self._folder / name)
                first_tried.pop(name, None)
                self._seen.add(name)
                if image_HWC is not None:
                    self.state, last = "running", time.monotonic()
                    small_HWC = brought_to(image_HWC, self._size)
                    yield Arrival(number, brought_to(image_HWC, self.frame_size), small_HWC, number % self._stride == 0)
                    number += 1
            if time.monotonic() - last > self._patience:
                logger.warning("no image has come into %s for %g s", self._folder, self._patience)
                return
            if time.monotonic() - last > SLOW_SECONDS:
                self.state = "waiting for the source: no new image"
            self._closed.wait(LOOK_SECONDS)

    def close(self) -> None:
        self._closed.set()

    def _names(self) -> list[str]:
        try:
            found = [path.name for path in self._folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        except OSError:  # the disk of the camera is away for a moment
            return []
        return sorted((name for name in found if not name.startswith(".")), key=natural)

    def _read(self, name: str) -> np.ndarray | None:
        try:
            return np.array(read_picture(self._folder / name))
        except (ValueError, OSError):
            return None
