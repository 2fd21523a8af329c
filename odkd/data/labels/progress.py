"""Which frames of an array are stored, without reading the shards that were read before.

A note in the array's folder says it for each version (inode, time, size) of a shard's file. It is written once there
are many shards; without it, or if it is damaged, the shards are read.
"""

import contextlib
import io
import os

import numpy as np

from odkd.common.arrays import read_npz
from odkd.common.files import write_atomic
from odkd.common.pictures import UNREADABLE
from odkd.common.reading import open_file
from odkd.data.labels.shards import FrameArray

NOTE = ".stored.npz"
WORTH_NOTING = 64  # shards that were read


def versions_of(array: FrameArray) -> np.ndarray:
    """Return int64 [shards, 3]: inode, time of the last change in nanoseconds, and bytes of each file; 0 for none."""
    versions = np.zeros((array.num_shards, 3), np.int64)
    folder, rest = f"{array.folder}/c/", "/0" * len(array.shape)
    for shard in range(array.num_shards):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(f"{folder}{shard}{rest}")  # noqa: PTH116 - a Path takes longer than the call
            versions[shard] = status.st_ino, status.st_mtime_ns, status.st_size
    return versions


def stored_mask(array: FrameArray) -> np.ndarray:
    """Return bool [frames], True for the frames that are stored.

    Raises:
        DamagedLabelsError: the index of a shard fails its checksum.
    """
    versions = versions_of(array)
    is_stored = np.zeros((array.num_shards, array.shard_frames), bool)
    known = _read_note(array)
    is_new = versions[:, 2] > 0
    if known is not None:
        is_known = (known[0] == versions).all(1)
        is_stored[is_known] = known[1][is_known]
        is_new &= ~is_known
    for shard in np.flatnonzero(is_new).tolist():
        frames = array.stored(shard)
        is_stored[shard, [frame % array.shard_frames for frame in frames]] = True
    if is_new.sum() > WORTH_NOTING:
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, versions=versions, stored=np.packbits(is_stored, axis=1))
        with contextlib.suppress(OSError):  # a store that cannot be written to
            write_atomic(array.folder / NOTE, buffer.getvalue(), durable=False)
    return is_stored.reshape(-1)[: array.num_frames]


def _read_note(array: FrameArray) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        with open_file(array.folder / NOTE) as file:
            versions = read_npz(file, "versions", array.num_shards * 3)
            stored = read_npz(file, "stored", array.num_shards * array.shard_frames)
    except UNREADABLE:
        return None
    if versions.shape != (array.num_shards, 3) or stored.shape != (array.num_shards, -(-array.shard_frames // 8)):
        return None
    return versions, np.unpackbits(stored, axis=1, count=array.shard_frames).astype(bool)
