"""The frames of one video in the frame store: raw uint8 rows, each with a CRC-32C that is checked when it is read.

    frames.raw       uint8 [n, H, W, 3]
    frames.crc32c    uint32 [n], little-endian
    manifest.json    what the frames are, and which of them are damaged in the video: a note with its digest

A row that does not match its checksum is decoded again. Stores of earlier releases have no checksums: their frames
are taken as they are.
"""

import logging
import os
from pathlib import Path

import google_crc32c
import numpy as np
from filelock import FileLock

from odkd.common.notes import read_note
from odkd.data.video.decode import decode_frames
from odkd.data.video.image_index import Source

logger = logging.getLogger(__name__)
RAW, SUMS, MANIFEST, LOCK = "frames.raw", "frames.crc32c", "manifest.json", "build.lock"
SUM = np.dtype("<u4")


class FrameRows:
    """A reader of the sampled frames of one video.

    It uses plain reads: they share the page cache between processes as a memory map does, but do not count as memory of
    this process and do not crash it if the file disappears.

    Args:
        frames: int64 [n], the number of each row's frame in the video.
        size: (height, width) in pixels.
    """

    def __init__(self, folder: Path, video: Source, frames: np.ndarray, size: tuple[int, int]) -> None:
        self._folder, self._video, self._frames, self._size = folder, video, frames, size
        self._sums: np.ndarray | None = None  # of a store of an earlier release: empty

    def read(self, row: int, image_HWC: np.ndarray) -> None:
        """Read a row into uint8 [H, W, 3]; decode and store it again if it is damaged.

        Raises:
            OSError: it is damaged, and the video does not give it any more.
        """
        if self._is_read(row, image_HWC):
            return
        with FileLock(self._folder / LOCK):
            self._sums = None  # another process may have mended it, or built the store anew
            if not self._is_read(row, image_HWC):
                self._mend(row, image_HWC)

    def _is_read(self, row: int, image_HWC: np.ndarray) -> bool:
        """Read a row; return False if it is cut off or does not match its checksum."""
        if self._sums is None:
            path = self._folder / SUMS
            self._sums = np.fromfile(path, SUM) if path.is_file() else np.zeros(0, SUM)
            if not len(self._sums):
                logger.debug("%s is of an earlier odkd, without checksums; its frames are not verified", self._folder)
        with (self._folder / RAW).open("rb", buffering=0) as file:
            file.seek(row * image_HWC.nbytes)
            is_whole = file.readinto(image_HWC.data) == image_HWC.nbytes
        if not len(self._sums):
            return is_whole
        return is_whole and row < len(self._sums) and checksum(image_HWC) == self._sums[row]

    def _mend(self, row: int, image_HWC: np.ndarray) -> None:
        """Decode a row again, and store it if it is the row that was there: by its checksum, or by its content."""
        assert self._sums is not None
        number, stored_HWC = int(self._frames[row]), image_HWC.copy()
        ((_, decoded_HWC),) = decode_frames(self._video, [number], size=self._size)
        known = self._sums[row] if row < len(self._sums) else None
        if decoded_HWC is None or (known != checksum(decoded_HWC) and not np.array_equal(decoded_HWC, stored_HWC)):
            raise OSError(
                f"frame {number} of {self._video.path} is damaged in {self._folder}, and the video gives another one; "
                "delete this folder and run again"
            )
        with (self._folder / RAW).open("r+b") as file:
            file.seek(row * image_HWC.nbytes)
            file.write(decoded_HWC.data)
        if (self._folder / SUMS).is_file():
            with (self._folder / SUMS).open("r+b") as file:
                write_sum(file.fileno(), row, decoded_HWC)
        self._sums = None
        image_HWC[:] = decoded_HWC
        logger.warning("%s/%s: frame %d was damaged; it is decoded again", self._folder, RAW, number)


def checksum(image_HWC: np.ndarray) -> int:
    """Return the CRC-32C of a frame, which must be C-contiguous."""
    return int(google_crc32c.value(image_HWC))


def write_sum(descriptor: int, row: int, image_HWC: np.ndarray) -> None:
    """Write the checksum of a row into an open file."""
    os.pwrite(descriptor, np.array(checksum(image_HWC), SUM).tobytes(), row * SUM.itemsize)


def damaged_frames(folder: Path, num_rows: int, row_bytes: int) -> list[int] | None:
    """Return the numbers of the frames that are damaged in the video; None if the store is not there, or unsound.

    Args:
        row_bytes: of a frame; 0 for a store that keeps none, but knows which are damaged.
    """
    known = read_note(folder / MANIFEST, trusts_old=True)
    if known is None or not row_bytes:
        return None if known is None else list(known[0]["damaged"])
    sizes = {RAW: num_rows * row_bytes} | ({SUMS: num_rows * SUM.itemsize} if "checksums" in known[0] else {})
    for name, num_bytes in sizes.items():
        path = folder / name
        if not path.is_file():
            if name != RAW:
                logger.warning("%s is missing; the frames are decoded again", path)
            return None
        if (there := path.stat().st_size) != num_bytes:
            logger.warning("%s has %d bytes, not %d; the frames are decoded again", path, there, num_bytes)
            return None
    return list(known[0]["damaged"])
