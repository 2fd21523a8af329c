"""One array on disk with a row per frame: Zarr v3 [n, *shape], one chunk per frame, in shards.

Any Zarr v3 library reads it. We read and write the shards ourselves, because zarr's overhead per chunk (about 5 ms)
is many times that of the codec (0.4 ms). A frame that is not stored yet is an empty chunk in the index of its shard, so
that progress and data cannot disagree, and shards are written atomically. Every chunk and every index carries a
CRC-32C: a damaged byte is an error, never a wrong label.
"""

import math
import os
import struct
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import google_crc32c
import numpy as np
from annotated_types import MinLen
from numcodecs.zstd import Zstd

from odkd.common.files import write_atomic
from odkd.common.reading import open_plain, read_json
from odkd.common.settings import NaturalInt
from odkd.data.labels.array_metadata import FILL_VALUES, ZSTD_LEVEL, array_metadata

EMPTY = 2**64 - 1  # Zarr v3 sharding: offset and length of a missing chunk
MOST_NUMBERS, MOST_IN_SHARD = 2**28, 2**16  # of a frame; frames
FORM = {
    "shape": Annotated[list[NaturalInt], MinLen(1)],
    "data_type": str,
    "chunk_grid": {"configuration": {"chunk_shape": Annotated[list[int], MinLen(1)]}},
    "chunk_key_encoding": {"configuration": {"separator": Literal[".", "/"]}},
}
KEPT_INDEXES = 256  # 1 kB each for shards of 64 frames
_ENTRY = struct.Struct("<QQ")
_CRC = struct.Struct("<I")


class DamagedLabelsError(ValueError):
    """An error for stored labels or metadata that fail their checksum."""


class FrameArray:
    """An array of rows 0..n-1, all of one shape and dtype ("uint8" or "float16").

    `separator` stands between the numbers in a shard's name: "/" makes folders, "." makes none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        num_frames: int,
        shape: tuple[int, ...],
        shard_frames: int,
        dtype: str = "uint8",
        separator: str = "/",
    ) -> None:
        assert dtype in FILL_VALUES
        self.folder, self.num_frames, self.shard_frames, self.separator = folder, num_frames, shard_frames, separator
        self.shape, self.dtype = shape, np.dtype(dtype).newbyteorder("<")
        self._codec = Zstd(level=ZSTD_LEVEL)
        self._indexes: OrderedDict[int, tuple[tuple[int, int, int], bytes]] = OrderedDict()

    def metadata(self, attributes: Mapping[str, object]) -> bytes:
        """Return the content of the array's zarr.json."""
        return array_metadata((self.num_frames, *self.shape), self.shard_frames, self.dtype, self.separator, attributes)

    def create(self, attributes: Mapping[str, object]) -> None:
        """Write zarr.json; `attributes` describe the array."""
        write_atomic(self.folder / "zarr.json", self.metadata(attributes))

    @classmethod
    def open(cls, folder: Path) -> "FrameArray":
        """Open an array that `create` made."""
        path = folder / "zarr.json"
        content = read_json(path, FORM)
        num_frames, *shape = content["shape"]
        (shard_frames, *_), dtype = content["chunk_grid"]["configuration"]["chunk_shape"], content["data_type"]
        separator = content["chunk_key_encoding"]["configuration"]["separator"]
        is_sound = dtype in FILL_VALUES and 1 <= shard_frames <= MOST_IN_SHARD and math.prod(shape) <= MOST_NUMBERS
        if not is_sound:
            raise DamagedLabelsError(f"{path} is damaged: {dtype} {content['shape']}, {shard_frames} frames in a shard")
        return cls(
            folder,
            num_frames=num_frames,
            shape=tuple(shape),
            shard_frames=shard_frames,
            dtype=dtype,
            separator=separator,
        )

    @property
    def num_shards(self) -> int:
        return -(-self.num_frames // self.shard_frames)

    def shard_range(self, shard: int) -> range:
        """Return the frames of a shard."""
        return range(shard * self.shard_frames, min((shard + 1) * self.shard_frames, self.num_frames))

    def stored(self, shard: int) -> set[int]:
        """Return the frames of a shard that are stored."""
        try:
            with open_plain(self.shard_path(shard)) as file:
                index = self._index(shard, file)
        except FileNotFoundError:
            return set()
        frames = self.shard_range(shard)
        is_there = np.frombuffer(index, "<u8").reshape(-1, 2)[: len(frames), 0] != EMPTY
        return {frames[place] for place in np.flatnonzero(is_there).tolist()}

    def stored_among(self, frames: range) -> list[int]:
        """Return those of consecutive frames that are stored, in order."""
        last = min(frames.stop, self.num_frames) - 1
        shards = range(frames.start // self.shard_frames, last // self.shard_frames + 1)
        return sorted(frame for shard in shards for frame in self.stored(shard) if frame in frames)

    def read(self, frame: int) -> np.ndarray:
        """Return the row of a frame, read-only.

        Raises:
            KeyError: the frame is not stored.
            DamagedLabelsError: the frame or the index of its shard fails its checksum.
        """
        return np.frombuffer(self._decode(self._chunk(frame), frame), self.dtype).reshape(self.shape)

    def write(self, shard: int, rows: Mapping[int, np.ndarray]) -> None:
        """Add frames to a shard in one atomic step; other stored frames are kept.

        One process at a time writes a shard (`labels/claims.py`). If two do, because one was wrongly taken for dead,
        no frame becomes wrong: frames of the slower process may be lost and are labelled again.
        """
        chunks = {frame: self._chunk(frame) for frame in sorted(self.stored(shard) - rows.keys())}
        if wrong := sorted(rows.keys() - set(self.shard_range(shard))):
            raise ValueError(f"frame {wrong[0]} does not fit shard {shard} of {self.folder}")
        self._write_chunks(shard, chunks | {frame: self.encoded(frame, row) for frame, row in rows.items()})

    def encoded(self, frame: int, row: np.ndarray) -> bytes:
        """Return the chunk of a frame: compressed, with its checksum.

        Raises:
            ValueError: the row has another shape or dtype, or the array no such frame.
        """
        if not 0 <= frame < self.num_frames or row.shape != self.shape or row.dtype != self.dtype:
            raise ValueError(
                f"frame {frame} with {row.dtype} {row.shape} does not fit {self.folder} "
                f"({self.num_frames} frames, {self.dtype} {self.shape})"
            )
        payload = bytes(self._codec.encode(np.ascontiguousarray(row)))
        return payload + _CRC.pack(google_crc32c.value(payload))

    def footer(self, places: Mapping[int, tuple[int, int]]) -> bytes:
        """Return the index of a shard, with its checksum, from offset and length of each stored frame's chunk."""
        index = [(EMPTY, EMPTY)] * self.shard_frames
        for frame, place in places.items():
            index[frame % self.shard_frames] = place
        entries = b"".join(_ENTRY.pack(*entry) for entry in index)
        return entries + _CRC.pack(google_crc32c.value(entries))

    def drop(self, frames: Collection[int]) -> None:
        """Delete frames, for example damaged ones; a shard with a damaged index is deleted completely."""
        for shard in sorted({frame // self.shard_frames for frame in frames}):
            try:
                kept = sorted(self.stored(shard) - set(frames))
                chunks = {frame: self._chunk(frame) for frame in kept}
            except DamagedLabelsError:
                chunks = {}
            if chunks:
                self._write_chunks(shard, chunks)
            else:
                self.shard_path(shard).unlink(missing_ok=True)

    def _write_chunks(self, shard: int, chunks: Mapping[int, bytes]) -> None:
        places, body, offset = {}, [], 0
        for frame in sorted(chunks):
            places[frame] = (offset, len(chunks[frame]))
            body.append(chunks[frame])
            offset += len(chunks[frame])
        write_atomic(self.shard_path(shard), b"".join([*body, self.footer(places)]))

    def damaged(self) -> Iterable[int]:
        """Yield the frames that fail their checksum; all frames of a shard if its index does."""
        for shard in range(self.num_shards):
            try:
                frames: Iterable[int] = sorted(self.stored(shard))
            except DamagedLabelsError:
                yield from self.shard_range(shard)
                continue
            for frame in frames:
                try:
                    self.read(frame)
                except DamagedLabelsError:
                    yield frame

    def shard_path(self, shard: int) -> Path:
        """Return the path of a shard's file."""
        return self.folder / self.separator.join(("c", str(shard), *("0" for _ in self.shape)))

    def _index(self, shard: int, file: BinaryIO) -> bytes:
        """Return the entries (offset, length) of all chunks; of the shards used last, they are read once."""
        status = os.fstat(file.fileno())
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        cached = self._indexes.get(shard)
        if cached is not None and cached[0] == version:
            self._indexes.move_to_end(shard)
            return cached[1]
        length = self.shard_frames * _ENTRY.size
        file.seek(max(0, status.st_size - length - _CRC.size))
        footer = file.read()
        if len(footer) != length + _CRC.size or _CRC.unpack(footer[length:])[0] != google_crc32c.value(footer[:length]):
            raise DamagedLabelsError(
                f"{self.shard_path(shard)}: the shard's index fails its checksum; "
                "`odkd-labels repair` labels its frames again"
            )
        self._indexes[shard] = (version, footer[:length])
        if len(self._indexes) > KEPT_INDEXES:
            self._indexes.popitem(last=False)
        return footer[:length]

    def _chunk(self, frame: int) -> bytes:
        shard = frame // self.shard_frames
        try:
            # One file descriptor for index and chunk, because the shard may be replaced between the two reads.
            with open_plain(self.shard_path(shard)) as file:
                index = self._index(shard, file)
                offset, length = _ENTRY.unpack_from(index, frame % self.shard_frames * _ENTRY.size)
                if offset != EMPTY:
                    end = os.fstat(file.fileno()).st_size  # whatever the index promises
                    file.seek(min(offset, end))
                    return file.read(min(length, end))
        except FileNotFoundError:
            pass
        raise KeyError(f"frame {frame} is not labelled in {self.folder}")

    def _decode(self, chunk: bytes, frame: int) -> bytes:
        payload, checksum = chunk[: -_CRC.size], chunk[-_CRC.size :]
        if len(checksum) != _CRC.size or _CRC.unpack(checksum)[0] != google_crc32c.value(payload):
            raise DamagedLabelsError(
                f"frame {frame} of {self.folder} fails its checksum; `odkd-labels repair` labels it again"
            )
        place = np.empty(self.dtype.itemsize * math.prod(self.shape), np.uint8)  # whatever its header promises
        try:
            row = bytes(self._codec.decode(payload, place)) if place.size else b""
        except (RuntimeError, ValueError) as error:
            raise DamagedLabelsError(f"frame {frame} of {self.folder} cannot be decompressed: {error}") from error
        if len(row) != self.dtype.itemsize * math.prod(self.shape):
            expected = f"expected {self.dtype} {self.shape}"
            raise DamagedLabelsError(f"frame {frame} of {self.folder} has {len(row)} bytes; {expected}")
        return row
