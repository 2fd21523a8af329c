"""Label maps on disk: one Zarr v3 array [n, H, W] uint8 a video and label source, a chunk a frame, in shards.

Any Zarr v3 library reads it; we write and read whole shards ourselves, since zarr's own cost a chunk
(about 5 ms) is many times the codec's (0.4 ms). A frame that is not labelled yet is an empty chunk of its
shard's index, so "done" and "data" can never disagree, and a shard appears under its name complete or not at
all. Every chunk and every index carries a CRC-32C: a damaged byte is an error, never a wrong label.
"""

import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

from odkd.files import write_atomic

EMPTY = 2**64 - 1  # Zarr v3 sharding: offset and length of a chunk that is not stored
_ENTRY = struct.Struct("<QQ")
_CRC = struct.Struct("<I")


class DamagedLabelsError(ValueError):
    """A stored label map fails its checksum."""


class LabelStore:
    """Label maps of frames 0..n-1 of one video, at one size."""

    def __init__(self, folder: Path, *, num_frames: int, height: int, width: int, shard_frames: int) -> None:
        self.folder, self.num_frames, self.shard_frames = folder, num_frames, shard_frames
        self.height, self.width = height, width
        self._codec = Zstd(level=1)
        self._indexes: dict[int, tuple[tuple[int, int, int], list[tuple[int, int]]]] = {}

    def create(self, attributes: Mapping[str, object]) -> None:
        """Write the array's metadata; `attributes` is the readable manifest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        metadata = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self.num_frames, self.height, self.width],
            "data_type": "uint8",
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.shard_frames, self.height, self.width]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 255,
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [1, self.height, self.width],
                        "codecs": [
                            {"name": "bytes"},
                            {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
                            {"name": "crc32c"},
                        ],
                        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                        "index_location": "end",
                    },
                }
            ],
            "attributes": dict(attributes),
        }
        write_atomic(self.folder / "zarr.json", json.dumps(metadata, indent=1).encode())

    @classmethod
    def open(cls, folder: Path) -> "LabelStore":
        """Open what `create` made."""
        metadata = json.loads((folder / "zarr.json").read_text())
        num_frames, height, width = metadata["shape"]
        shard_frames = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
        return cls(folder, num_frames=num_frames, height=height, width=width, shard_frames=shard_frames)

    @property
    def num_shards(self) -> int:
        return -(-self.num_frames // self.shard_frames)

    def shard_range(self, shard: int) -> range:
        """Frames of a shard."""
        return range(shard * self.shard_frames, min((shard + 1) * self.shard_frames, self.num_frames))

    def stored(self, shard: int) -> set[int]:
        """Frames of a shard that are there."""
        try:
            index = self._index(shard)
        except FileNotFoundError:
            return set()
        return {frame for frame in self.shard_range(shard) if index[frame % self.shard_frames][0] != EMPTY}

    def read(self, frame: int) -> np.ndarray:
        """uint8 [H, W].

        Raises:
            KeyError: the frame is not stored.
            DamagedLabelsError: its bytes, or its shard's index, fail their checksum.
        """
        return np.frombuffer(self._decode(self._chunk(frame), frame), np.uint8).reshape(self.height, self.width)

    def write(self, shard: int, labels: Mapping[int, np.ndarray]) -> None:
        """Add frames to a shard in one atomic step; frames that it holds already are kept.

        Only one process may write a shard at a time: callers hold its lock (`labels/cache.py`).
        """
        frames = self.shard_range(shard)
        chunks = {frame: self._chunk(frame) for frame in sorted(self.stored(shard) - labels.keys())}
        for frame, label_HW in labels.items():
            if frame not in frames or label_HW.shape != (self.height, self.width) or label_HW.dtype != np.uint8:
                raise ValueError(
                    f"frame {frame} with {label_HW.dtype} {label_HW.shape} does not fit shard {shard} of {self.folder} "
                    f"(frames {frames.start}..{frames.stop - 1}, uint8 {self.height, self.width})"
                )
            payload = self._codec.encode(np.ascontiguousarray(label_HW))
            chunks[frame] = payload + _CRC.pack(google_crc32c.value(bytes(payload)))
        index, body, offset = [(EMPTY, EMPTY)] * self.shard_frames, [], 0
        for frame in sorted(chunks):
            index[frame % self.shard_frames] = (offset, len(chunks[frame]))
            body.append(chunks[frame])
            offset += len(chunks[frame])
        footer = b"".join(_ENTRY.pack(*entry) for entry in index)
        write_atomic(self._path(shard), b"".join([*body, footer, _CRC.pack(google_crc32c.value(footer))]))

    def damaged(self) -> Iterable[int]:
        """Frames whose stored bytes fail their checksum; all of a shard's when its index does."""
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

    def _path(self, shard: int) -> Path:
        return self.folder / "c" / str(shard) / "0" / "0"

    def _index(self, shard: int) -> list[tuple[int, int]]:
        with self._path(shard).open("rb") as file:
            status = os.fstat(file.fileno())
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            cached = self._indexes.get(shard)
            if cached is not None and cached[0] == version:
                return cached[1]
            length = self.shard_frames * _ENTRY.size
            file.seek(max(0, status.st_size - length - _CRC.size))
            footer = file.read()
        if len(footer) != length + _CRC.size or _CRC.unpack(footer[length:])[0] != google_crc32c.value(footer[:length]):
            raise DamagedLabelsError(
                f"{self._path(shard)}: the shard's index fails its checksum; delete the file to label its frames again"
            )
        index = list(_ENTRY.iter_unpack(footer[:length]))
        self._indexes[shard] = (version, index)
        return index

    def _chunk(self, frame: int) -> bytes:
        shard = frame // self.shard_frames
        try:
            offset, length = self._index(shard)[frame % self.shard_frames]
        except FileNotFoundError:
            offset = EMPTY
        if offset == EMPTY:
            raise KeyError(f"frame {frame} is not labelled in {self.folder}")
        with self._path(shard).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def _decode(self, chunk: bytes, frame: int) -> bytes:
        payload, checksum = chunk[: -_CRC.size], chunk[-_CRC.size :]
        if len(checksum) != _CRC.size or _CRC.unpack(checksum)[0] != google_crc32c.value(payload):
            raise DamagedLabelsError(
                f"frame {frame} of {self.folder} fails its checksum; delete {self._path(frame // self.shard_frames)} "
                "to label its frames again"
            )
        return bytes(self._codec.decode(payload))
