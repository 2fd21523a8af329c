"""One array on disk with a row per frame: Zarr v3 [n, *shape], one chunk per frame, in shards.

Any Zarr v3 library reads it. We read and write the shards ourselves, because zarr's overhead per chunk (about 5 ms)
is many times that of the codec (0.4 ms). A frame that is not stored yet is an empty chunk in the index of its shard, so
that progress and data cannot disagree, and shards are written atomically. Every chunk and every index carries a
CRC-32C: a damaged byte is an error, never a wrong label.
"""

import json
import math
import os
import struct
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

import google_crc32c
import numpy as np
from annotated_types import MinLen
from numcodecs.zstd import Zstd

from odkd.common.files import write_atomic
from odkd.common.reading import open_plain, read_json
from odkd.common.settings import NaturalInt

EMPTY = 2**64 - 1  # Zarr v3 sharding: offset and length of a missing chunk
ZSTD_LEVEL = 1
MOST_NUMBERS, MOST_IN_SHARD = 2**28, 2**16  # of a frame; frames
FORM = {
    "shape": Annotated[list[NaturalInt], MinLen(1)],
    "data_type": str,
    "chunk_grid": {"configuration": {"chunk_shape": Annotated[list[int], MinLen(1)]}},
}
KEPT_INDEXES = 256  # 1 kB each for shards of 64 frames
FILL_VALUES: dict[str, float] = {"uint8": 255, "float16": 0.0}  # what other libraries show for a missing frame
_ENTRY = struct.Struct("<QQ")
_CRC = struct.Struct("<I")


class DamagedLabelsError(ValueError):
    """An error for stored labels or metadata that fail their checksum."""


class FrameArray:
    """An array of rows 0..n-1, all of one shape and dtype ("uint8" or "float16")."""

    def __init__(
        self, folder: Path, *, num_frames: int, shape: tuple[int, ...], shard_frames: int, dtype: str = "uint8"
    ) -> None:
        assert dtype in FILL_VALUES
        self.folder, self.num_frames, self.shard_frames = folder, num_frames, shard_frames
        self.shape, self.dtype = shape, np.dtype(dtype).newbyteorder("<")
        self._codec = Zstd(level=ZSTD_LEVEL)
        self._indexes: OrderedDict[int, tuple[tuple[int, int, int], bytes]] = OrderedDict()

    def metadata(self, attributes: Mapping[str, object]) -> bytes:
        """Return the content of the array's zarr.json."""
        bytes_codec: dict[str, object] = {"name": "bytes"}
        if self.dtype.itemsize > 1:
            bytes_codec["configuration"] = {"endian": "little"}
        index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        zstd = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
        sharding = {
            "chunk_shape": [1, *self.shape],
            "codecs": [bytes_codec, zstd, {"name": "crc32c"}],
            "index_codecs": index_codecs,
            "index_location": "end",
        }
        grid = {"name": "regular", "configuration": {"chunk_shape": [self.shard_frames, *self.shape]}}
        content = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self.num_frames, *self.shape],
            "data_type": self.dtype.name,
            "chunk_grid": grid,
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": FILL_VALUES[self.dtype.name],
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": dict(attributes),
        }
        return (json.dumps(content, indent=1) + "\n").encode()

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
        is_sound = dtype in FILL_VALUES and 1 <= shard_frames <= MOST_IN_SHARD and math.prod(shape) <= MOST_NUMBERS
        if not is_sound:
            raise DamagedLabelsError(f"{path} is damaged: {dtype} {content['shape']}, {shard_frames} frames in a shard")
        return cls(folder, num_frames=num_frames, shape=tuple(shape), shard_frames=shard_frames, dtype=dtype)

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
        frames = self.shard_range(shard)
        chunks = {frame: self._chunk(frame) for frame in sorted(self.stored(shard) - rows.keys())}
        for frame, row in rows.items():
            if frame not in frames or row.shape != self.shape or row.dtype != self.dtype:
                raise ValueError(
                    f"frame {frame} with {row.dtype} {row.shape} does not fit shard {shard} of {self.folder} "
                    f"(frames {frames.start}..{frames.stop - 1}, {self.dtype} {self.shape})"
                )
            payload = self._codec.encode(np.ascontiguousarray(row))
            chunks[frame] = payload + _CRC.pack(google_crc32c.value(bytes(payload)))
        self._write_chunks(shard, chunks)

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
        index, body, offset = [(EMPTY, EMPTY)] * self.shard_frames, [], 0
        for frame in sorted(chunks):
            index[frame % self.shard_frames] = (offset, len(chunks[frame]))
            body.append(chunks[frame])
            offset += len(chunks[frame])
        footer = b"".join(_ENTRY.pack(*entry) for entry in index)
        write_atomic(self.shard_path(shard), b"".join([*body, footer, _CRC.pack(google_crc32c.value(footer))]))

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
        return self.folder.joinpath("c", str(shard), *("0" for _ in self.shape))

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
            raise DamagedLabelsError(
                f"frame {frame} of {self.folder} has {len(row)} bytes; expected {self.dtype} {self.shape}"
            )
        return row
