"""Label stores: they know their frames, any changed byte is detected, and damaged frames are never returned."""

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from extras import need

from odkd.data.labels.damage import find_damage, mend, mend_manifest
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import Labelled, LabelStore, SoftSpec, store_key
from odkd.data.labels.store_files import find_stores

NUM_FRAMES, SIZE = 10, (6, 9)
SPEC = SoftSpec(2, (3, 4))
IDENTITY = {"video_sha256": "abc", "size": list(SIZE)}
MANIFEST = {
    "teacher": "test",
    "video": "a.mp4",
    "shard_frames": 4,
    "identity": IDENTITY,
    "classes": ["road", "sky"],
    "sampled_frames": list(range(0, 20, 2)),
}


def rows(frames: range) -> dict[int, Labelled]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, (NUM_FRAMES, *SIZE), dtype=np.uint8)
    classes = generator.integers(0, 3, (NUM_FRAMES, 2, 3, 4), dtype=np.uint8)
    probabilities = generator.random((NUM_FRAMES, 2, 3, 4), np.float32)
    return {frame: Labelled(labels[frame], (classes[frame], probabilities[frame])) for frame in frames}


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    made = LabelStore.create(tmp_path / "labels" / "test" / f"a-{store_key(IDENTITY)}", MANIFEST)
    for shard in range(made.num_shards):
        made.write(shard, rows(made.labels.shard_range(shard)), SPEC)
    made.write_session("s", {"frames": list(range(NUM_FRAMES)), "seconds": 1.5, "undecodable": []})
    return made


def test_written_labels_are_read_back_and_by_zarr(store: LabelStore) -> None:
    expected = rows(range(NUM_FRAMES))
    reopened = LabelStore(store.folder)
    assert reopened.soft_specs == [SPEC]
    for frame in (9, 0, 5):
        np.testing.assert_array_equal(reopened.read(frame), expected[frame].label_HW)
        for ours, theirs in zip(reopened.read_soft(frame, SPEC), expected[frame].soft or (), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3)
            assert ours.dtype == theirs.dtype
    group = need("zarr").open_group(store.folder, mode="r")
    assert group.attrs["teacher"] == "test"
    np.testing.assert_array_equal(group["labels"][7], expected[7].label_HW)
    stored_KHW = np.exp(group["logsoft-top2-3x4/log_probabilities"][7].astype(np.float32))
    np.testing.assert_allclose(stored_KHW, (expected[7].soft or ())[1], rtol=4e-3)


def test_the_manifest_of_an_existing_store_stays(store: LabelStore) -> None:
    again = LabelStore.create(store.folder, {**MANIFEST, "classes": ["other"]})
    assert again.manifest == store.manifest
    assert not find_damage(again)


def _create_at_once(folder: Path, barrier: "multiprocessing.synchronize.Barrier", number: int) -> None:
    barrier.wait()
    LabelStore.create(folder, {**MANIFEST, "source": number})


def test_processes_that_create_a_store_at_the_same_time_agree_on_its_manifest(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=_create_at_once, args=(tmp_path / "s", barrier, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    damage = find_damage(LabelStore(tmp_path / "s"))
    assert not damage.files
    assert damage.missing == list(range(NUM_FRAMES))


def test_frames_without_soft_labels_are_known(store: LabelStore) -> None:
    other = SoftSpec(1, (3, 4))
    assert store.all_stored() == store.all_stored(SPEC) == set(range(NUM_FRAMES))
    assert store.all_stored(other) == set()


@pytest.mark.slow
def test_each_of_a_thousand_changed_bytes_is_detected_and_mended(store: LabelStore) -> None:
    whole = {path.relative_to(store.folder): path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    # Manifest, group, session; metadata of the soft group and three arrays; shards.
    assert len(whole) == 3 + 4 + 9
    expected = rows(range(NUM_FRAMES))
    ends = np.cumsum([len(content) for content in whole.values()])
    generator = np.random.default_rng(1)
    for place in generator.choice(int(ends[-1]), 1000, replace=False):
        number = int(np.searchsorted(ends, place, side="right"))
        name, content = list(whole.items())[number]
        damaged = bytearray(content)
        damaged[int(place) - int(ends[number]) + len(content)] ^= int(generator.integers(1, 256))
        (store.folder / name).write_bytes(damaged)

        where = f"byte {place} in {name}"
        is_found = True
        try:
            damage = find_damage(LabelStore(store.folder))
            is_found = bool(damage)
            for frame in range(NUM_FRAMES):  # a wrong label map is never returned
                try:
                    np.testing.assert_array_equal(LabelStore(store.folder).read(frame), expected[frame].label_HW)
                except DamagedLabelsError:
                    assert frame in damage.frames["labels"], where
        except DamagedLabelsError:
            assert name == Path("manifest.json")
        assert is_found, where

        mend_manifest(store.folder)
        mended = LabelStore(store.folder)
        mend(mended, find_damage(mended))
        for shard in range(mended.num_shards):
            lost = set(mended.labels.shard_range(shard)) - mended.stored(shard, SPEC)
            assert len(lost) <= 4, where
            if lost:
                mended.write(shard, {frame: expected[frame] for frame in lost}, SPEC)
        assert not find_damage(LabelStore(store.folder)), where
        for name_again, content_again in whole.items():
            if name_again.parts[0] == "sessions":
                (store.folder / name_again).write_bytes(content_again)  # a damaged record cannot be restored
            assert (store.folder / name_again).read_bytes() == content_again, where


def test_mending_deletes_only_damaged_frames(store: LabelStore) -> None:
    path = store.labels.shard_path(1)
    content = bytearray(path.read_bytes())
    content[0] ^= 1  # the first chunk of the shard: frame 4
    path.write_bytes(content)
    damage = find_damage(LabelStore(store.folder))
    assert damage.frames == {"labels": [4]}
    mend(store, damage)
    assert store.all_stored() == set(range(NUM_FRAMES)) - {4}
    assert find_damage(store).missing == [4]


def test_frames_of_a_lost_shard_are_missing_unless_the_video_frame_is_damaged(store: LabelStore) -> None:
    store.labels.shard_path(2).unlink()
    assert find_damage(LabelStore(store.folder)).missing == [8, 9]
    store.write_session("t", {"undecodable": [9]})
    damage = find_damage(LabelStore(store.folder))
    assert (damage.missing, damage.undecodable) == ([8], [9])


def test_a_store_without_an_intact_copy_of_its_manifest_is_refused(store: LabelStore) -> None:
    (store.folder / "manifest.json").write_bytes(b"")
    (store.folder / "zarr.json").write_bytes(b"{}")
    with pytest.raises(DamagedLabelsError, match="both"):
        mend_manifest(store.folder)


def test_stores_are_found_from_any_parent_folder(store: LabelStore, tmp_path: Path) -> None:
    for folder in (tmp_path / "labels", tmp_path / "labels" / "test", store.folder):
        assert find_stores(folder) == [store.folder]
    (store.folder / "manifest.json").write_bytes(b"x")  # a damaged store is still found
    assert find_stores(tmp_path / "labels") == [store.folder]
    shutil.rmtree(store.folder)
    assert find_stores(tmp_path / "labels") == []


def _create(folder: Path) -> None:
    made = LabelStore.create(folder, MANIFEST)
    made.write(0, {0: rows(range(1))[0]})
    made.write(0, rows(range(2)), SPEC)


def _is_killed_before_step(folder: Path, step: int) -> bool:
    """Create a store in a child that is killed before its `step`-th change of a folder; False if it has fewer."""

    def child() -> None:
        count = itertools.count()

        def stop(event: str, _: object) -> None:
            if event in ("open", "os.rename", "os.link", "os.mkdir", "os.remove") and next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(stop)
        _create(folder)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_kill_at_any_step_of_the_creation_leaves_no_damaged_store(tmp_path: Path) -> None:
    folder, steps = tmp_path / "none", 0
    while _is_killed_before_step(folder := tmp_path / f"labels{steps}" / "test" / "a", steps):
        (folder.parent / "a").mkdir(parents=True, exist_ok=True)
        for store in find_stores(folder):
            damage = find_damage(LabelStore(store))
            assert not damage.files, (steps, damage)
            assert not damage.frames, (steps, damage)
        _create(folder)  # the same again
        assert find_stores(folder) == [folder]
        damage = find_damage(LabelStore(folder))
        assert not damage.files, (steps, damage)
        assert damage.missing == list(range(2, NUM_FRAMES))
        for frame, expected in rows(range(2)).items():
            np.testing.assert_array_equal(LabelStore(folder).read(frame), expected.label_HW)
        steps += 1
    assert steps > 20


@pytest.mark.parametrize("lost", [["zarr.json", "labels/zarr.json"], ["zarr.json"], ["logsoft-top2-3x4/zarr.json"]])
def test_a_store_that_a_kill_of_an_earlier_release_left_without_metadata_is_completed(
    store: LabelStore, lost: list[str]
) -> None:
    for name in lost:
        (store.folder / name).unlink()
    assert find_damage(LabelStore(store.folder)).files == lost
    assert not find_damage(LabelStore(store.folder).completed())
