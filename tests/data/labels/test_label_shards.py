"""Label maps on disk: readable by zarr, complete or absent, damage always detected."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from extras import need

from odkd.data.labels.shards import DamagedLabelsError, FrameArray


def make(folder: Path, num_frames: int = 10, shard_frames: int = 4) -> tuple[FrameArray, np.ndarray]:
    store = FrameArray(folder, num_frames=num_frames, shape=(12, 17), shard_frames=shard_frames)
    store.create({"teacher": "test"})
    labels = np.random.default_rng(0).integers(0, 11, (num_frames, 12, 17), dtype=np.uint8)
    labels[:, :2] = 255
    return store, labels


def fill(store: FrameArray, labels: np.ndarray) -> None:
    for shard in range(store.num_shards):
        store.write(shard, {frame: labels[frame] for frame in store.shard_range(shard)})


def test_written_frames_are_read_back_and_by_zarr(tmp_path: Path) -> None:
    store, labels = make(tmp_path / "a")
    fill(store, labels)
    reopened = FrameArray.open(tmp_path / "a")
    for frame in (9, 0, 5):
        np.testing.assert_array_equal(reopened.read(frame), labels[frame])
    array = need("zarr").open_array(tmp_path / "a", mode="r")
    np.testing.assert_array_equal(array[:], labels)
    assert array.attrs["teacher"] == "test"
    assert sorted(p.name for p in (tmp_path / "a" / "c").iterdir()) == ["0", "1", "2"]  # three files for ten frames


def test_missing_frames_are_known_and_zarr_shows_them_as_ignored(tmp_path: Path) -> None:
    store, labels = make(tmp_path / "a")
    store.write(1, {5: labels[5]})
    assert [store.stored(shard) for shard in range(3)] == [set(), {5}, set()]
    store.write(1, {4: labels[4], 6: labels[6]})
    assert store.stored(1) == {4, 5, 6}
    np.testing.assert_array_equal(store.read(5), labels[5])
    for frame in (7, 0):
        with pytest.raises(KeyError, match="not labelled"):
            store.read(frame)
    array = need("zarr").open_array(tmp_path / "a", mode="r")
    assert (array[7] == 255).all()
    np.testing.assert_array_equal(array[5], labels[5])


def test_a_label_map_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    store, labels = make(tmp_path / "a")
    for wrong in ({4: labels[0]}, {0: labels[0].astype(np.int64)}, {0: labels[0][:5]}):
        with pytest.raises(ValueError, match="does not fit"):
            store.write(0, wrong)


def test_every_changed_byte_is_detected(tmp_path: Path) -> None:
    store, labels = make(tmp_path / "a")
    fill(store, labels)
    path = tmp_path / "a" / "c" / "1" / "0" / "0"
    whole = path.read_bytes()
    generator = np.random.default_rng(1)
    for place in generator.choice(len(whole), 300, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        found = list(FrameArray.open(tmp_path / "a").damaged())
        assert found, f"byte {place} of {len(whole)}"
        with pytest.raises(DamagedLabelsError, match="repair"):
            FrameArray.open(tmp_path / "a").read(found[0])
    path.write_bytes(whole)
    assert list(FrameArray.open(tmp_path / "a").damaged()) == []


def test_a_truncated_shard_is_damaged_and_not_empty(tmp_path: Path) -> None:
    store, labels = make(tmp_path / "a")
    fill(store, labels)
    path = tmp_path / "a" / "c" / "0" / "0" / "0"
    for length in (0, 10, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(DamagedLabelsError):
            FrameArray.open(tmp_path / "a").read(0)


def _write_forever(folder: Path) -> None:
    store, labels = make(folder, num_frames=64, shard_frames=64)
    while True:
        for frame in range(64):
            store.write(0, {frame: labels[frame]})


def test_a_writer_killed_at_any_time_leaves_an_undamaged_array(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    _, labels = make(tmp_path / "a", num_frames=64, shard_frames=64)
    for trial in range(8):
        process = context.Process(target=_write_forever, args=(tmp_path / "a",))
        process.start()
        time.sleep(0.05 + 0.013 * trial)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        store = FrameArray.open(tmp_path / "a")
        assert list(store.damaged()) == []
        for frame in store.stored(0):
            np.testing.assert_array_equal(store.read(frame), labels[frame])
