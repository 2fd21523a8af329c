"""Which frames are stored: the note agrees with the shards, whatever happens to them, and is read instead of them."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from odkd.common import progressions
from odkd.data.labels import progress
from odkd.data.labels.progress import NOTE, stored_mask
from odkd.data.labels.shards import DamagedLabelsError, FrameArray
from odkd.data.labels.store import LabelStore

MAP_HW = np.zeros((4, 5), np.uint8)


@pytest.fixture
def array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FrameArray:
    monkeypatch.setattr(progress, "WORTH_NOTING", 0)
    array = FrameArray(tmp_path / "a", num_frames=10, shape=(4, 5), shard_frames=4)
    array.create({})
    for frames in ([0, 1, 3], [4], [9]):
        array.write(frames[0] // 4, dict.fromkeys(frames, MAP_HW))
    return array


def stored(array: FrameArray) -> list[int]:
    return np.flatnonzero(stored_mask(FrameArray.open(array.folder))).tolist()


def test_what_is_noted_is_what_is_stored_after_every_change(array: FrameArray) -> None:
    assert stored(array) == [0, 1, 3, 4, 9]
    assert (array.folder / NOTE).is_file()
    array.write(1, {6: MAP_HW})
    assert stored(array) == [0, 1, 3, 4, 6, 9]
    array.drop([0, 1])
    assert stored(array) == [3, 4, 6, 9]
    array.shard_path(2).unlink()
    assert stored(array) == [3, 4, 6]
    for damaged in (b"", b"no archive", (array.folder / NOTE).read_bytes()[:-9]):
        (array.folder / NOTE).write_bytes(damaged)
        assert stored(array) == [3, 4, 6]


def test_shards_that_have_not_changed_are_not_read_again(array: FrameArray, monkeypatch: Any) -> None:
    stored(array)
    read: list[int] = []
    of_shard = FrameArray.stored
    monkeypatch.setattr(FrameArray, "stored", lambda self, shard: read.append(shard) or of_shard(self, shard))
    stored(array)
    assert read == []
    array.write(2, {8: MAP_HW})
    read.clear()
    stored(array)
    assert read == [2]


def test_a_shard_that_is_damaged_after_it_was_noted_is_found(array: FrameArray) -> None:
    stored(array)
    path = array.shard_path(1)
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(DamagedLabelsError, match="index fails its checksum"):
        stored(array)


def test_memory_for_the_indexes_of_shards_has_a_bound(array: FrameArray, monkeypatch: Any) -> None:
    monkeypatch.setattr("odkd.data.labels.shards.KEPT_INDEXES", 2)
    for frame in (0, 4, 9, 1):
        np.testing.assert_array_equal(array.read(frame), MAP_HW)
    assert list(array._indexes) == [2, 0]


def test_a_store_of_many_frames_opens_from_a_small_manifest(tmp_path: Path) -> None:
    """A store of the same frames that an earlier release wrote is read alike."""
    identity = {"size": [4, 5]}
    numbers = np.arange(0, 750_000, 75)
    old = {"shard_frames": 64, "identity": identity, "sampled_frames": numbers.tolist()}
    new = {"shard_frames": 64, "identity": identity, **progressions.packed("sampled_frames", numbers)}
    for folder, manifest in ((tmp_path / "old", old), (tmp_path / "new", new)):
        store = LabelStore.create(folder, manifest)
        assert store.num_frames == 10_000
        np.testing.assert_array_equal(store.frame_numbers, numbers)
    assert (tmp_path / "new" / "manifest.json").stat().st_size < 1000


def test_a_note_that_unpacks_to_gigabytes_is_not_unpacked(array: FrameArray) -> None:
    with zipfile.ZipFile(array.folder / NOTE, "w") as archive:
        for name, shape in (("versions", (2**33,)), ("stored", (3, 1))):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, {"descr": "<i8", "fortran_order": False, "shape": shape})
    assert stored(array) == [0, 1, 3, 4, 9]
