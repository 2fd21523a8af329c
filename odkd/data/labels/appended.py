"""Writing a `FrameArray` whose frames come in order: a file grows frame by frame and becomes a shard when it is full.

So one file holds the frames of many iterations, and none is written twice. Before each chunk lies a record that names
its frame: with these a killed process finds its place again. They lie between the chunks, where Zarr looks at nothing.
"""

import itertools
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import google_crc32c
import numpy as np

from odkd.common.files import flush_names
from odkd.data.labels.shards import FrameArray

_RECORD = struct.Struct("<QQI")  # frame, length of its chunk, CRC-32C of both numbers and of the chunk


class AppendedFrames:
    """The writer of an array, from frame `start` on; what an interrupted process has written from there on is dropped.

    Args:
        array: its metadata exist.
        start: the first frame to be appended.
    """

    def __init__(self, array: FrameArray, start: int) -> None:
        self._array = array
        self._shard, self._size, self._is_new = 0, 0, False
        self._places: dict[int, tuple[int, int]] = {}
        first = start // array.shard_frames
        for path in array.folder.glob("unfinished-*"):
            if (shard := int(path.name.partition("-")[2])) < first:  # the power failed before its new name was on disk
                self._open(shard)
                self._seal()
        if (last := array.shard_path(first)).is_file():
            last.replace(self._path(first))
        self._open(first, start)

    def append(self, rows: Mapping[int, np.ndarray]) -> None:
        """Add frames that follow all earlier ones; `flush` brings them to the disk."""
        for shard, group in itertools.groupby(sorted(rows), lambda frame: frame // self._array.shard_frames):
            frames = list(group)
            if shard != self._shard:
                self._seal()
                self._open(shard, frames[0])
            content = bytearray()
            for frame in frames:
                chunk = self._array.encoded(frame, rows[frame])
                self._places[frame] = (self._size + len(content) + _RECORD.size, len(chunk))
                content += _record(frame, chunk) + chunk
            with self._path(shard).open("ab") as file:
                file.write(content)
            self._size += len(content)

    def flush(self) -> None:
        """Return when all frames are on the disk."""
        if (path := self._path(self._shard)).is_file():  # a shard is on the disk
            with path.open("ab") as file:
                os.fsync(file.fileno())
            if self._is_new:
                flush_names(path.parent)
                self._is_new = False

    def finish(self) -> None:
        """Make a shard of the last frames too."""
        self._seal()

    def _path(self, shard: int) -> Path:
        return self._array.folder / f"unfinished-{shard}"

    def _open(self, shard: int, start: int | None = None) -> None:
        """Go to the end of the last whole frame of a shard, before `start`; cut off what follows."""
        path = self._path(shard)
        self._is_new = not path.is_file()
        content = b"" if self._is_new else path.read_bytes()
        self._shard, self._places, place = shard, {}, 0
        while (frame := _frame_at(content, place)) is not None and (start is None or frame < start):
            length = _RECORD.unpack_from(content, place)[1]
            self._places[frame] = (place + _RECORD.size, length)
            place += _RECORD.size + length
        if content[place:]:
            os.truncate(path, place)
        self._size = place

    def _seal(self) -> None:
        """Write the index after the last chunk, and give the file the name of a shard."""
        if not self._places:
            return
        path, shard = self._path(self._shard), self._array.shard_path(self._shard)
        with path.open("ab") as file:
            file.write(self._array.footer(self._places))
            file.flush()
            os.fsync(file.fileno())
        shard.parent.mkdir(parents=True, exist_ok=True)
        path.replace(shard)
        flush_names(shard.parent)


def _record(frame: int, chunk: bytes) -> bytes:
    numbers = _RECORD.pack(frame, len(chunk), 0)[:-4]
    return numbers + struct.pack("<I", google_crc32c.value(numbers + chunk))


def _frame_at(content: bytes, place: int) -> int | None:
    """Return the frame whose record and chunk begin at a place; None if they are not whole."""
    if len(content) < place + _RECORD.size:
        return None
    frame, length, _ = _RECORD.unpack_from(content, place)
    begin = place + _RECORD.size
    chunk = content[begin : begin + length] if length <= len(content) - begin else b""
    return int(frame) if len(chunk) == length and content[place:begin] == _record(frame, chunk) else None
