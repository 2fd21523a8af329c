"""Frames appended one after the other: the array is the one written at once, few files, and kills leave no trace."""

from pathlib import Path

import numpy as np
import pytest
from extras import need

from odkd.data.labels.appended import AppendedFrames
from odkd.data.labels.shards import FrameArray

NUM_FRAMES, SHARD = 23, 8
ROWS = np.random.default_rng(0).integers(0, 9, (NUM_FRAMES, 5, 7)).astype(np.uint8)


def make(folder: Path, separator: str = ".") -> FrameArray:
    array = FrameArray(folder, num_frames=NUM_FRAMES, shape=(5, 7), shard_frames=SHARD, separator=separator)
    array.create({})
    return FrameArray.open(folder)


def append(array: FrameArray, start: int, stop: int, step: int = 3) -> AppendedFrames:
    """Append frames in groups of `step`, of which the last is left out, as if it had not been tested on."""
    writer = AppendedFrames(array, start)
    for begin in range(start, stop, step):
        writer.append({frame: ROWS[frame] for frame in range(begin, min(begin + step - 1, NUM_FRAMES))})
    writer.flush()
    return writer


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("separator", [".", "/"])
def test_appended_frames_are_those_of_a_plain_reader(tmp_path: Path, separator: str) -> None:
    append(make(tmp_path / "a", separator), 0, NUM_FRAMES).finish()
    kept = [frame for frame in range(NUM_FRAMES) if frame % 3 != 2]
    found = FrameArray.open(tmp_path / "a")
    assert found.stored_among(range(NUM_FRAMES)) == kept
    assert found.stored_among(range(7, 11)) == [7, 9, 10]
    expected = np.where(np.isin(np.arange(NUM_FRAMES), kept)[:, None, None], ROWS, 255)
    assert np.array_equal(need("zarr").open_array(tmp_path / "a", mode="r")[:], expected)
    assert not list(found.damaged())
    if separator == ".":
        assert len(list((tmp_path / "a").rglob("*"))) == 1 + -(-NUM_FRAMES // SHARD)


@pytest.mark.parametrize("resumed_at", range(0, NUM_FRAMES, 3))
@pytest.mark.parametrize("killed_at", range(0, NUM_FRAMES, 3))
def test_frames_after_a_checkpoint_are_written_again_and_leave_the_same_bytes(
    tmp_path: Path, killed_at: int, resumed_at: int
) -> None:
    append(make(tmp_path / "whole"), 0, NUM_FRAMES).finish()
    if resumed_at > killed_at:
        return
    writer = append(make(tmp_path / "a"), 0, killed_at)
    if killed_at == 21:
        writer.finish()
    append(FrameArray.open(tmp_path / "a"), resumed_at, NUM_FRAMES).finish()
    assert content(tmp_path / "a") == content(tmp_path / "whole")


def test_a_torn_end_is_cut_off_wherever_it_is_torn(tmp_path: Path) -> None:
    append(make(tmp_path / "whole"), 0, NUM_FRAMES).finish()
    append(make(tmp_path / "a"), 0, 6)
    path = tmp_path / "a" / "unfinished-0"
    begun = path.read_bytes()
    append(FrameArray.open(tmp_path / "a"), 6, 7)
    longer = path.read_bytes()
    assert longer.startswith(begun)
    for length in range(len(begun), len(longer) + 1):
        path.write_bytes(longer[:length])
        append(FrameArray.open(tmp_path / "a"), 6, NUM_FRAMES).finish()
        assert content(tmp_path / "a") == content(tmp_path / "whole")
        for shard in range(3):
            (tmp_path / "a" / f"c.{shard}.0.0").unlink()


def test_a_full_file_whose_new_name_was_lost_becomes_a_shard(tmp_path: Path) -> None:
    append(make(tmp_path / "whole"), 0, NUM_FRAMES).finish()
    append(make(tmp_path / "a"), 0, 12)
    (tmp_path / "a" / "c.0.0.0").rename(tmp_path / "a" / "unfinished-0")
    append(FrameArray.open(tmp_path / "a"), 12, NUM_FRAMES).finish()
    assert content(tmp_path / "a") == content(tmp_path / "whole")


def test_a_run_of_before_with_a_file_an_iteration_goes_on(tmp_path: Path) -> None:
    array = FrameArray(tmp_path / "a", num_frames=9, shape=(5, 7), shard_frames=3)
    array.create({})
    for shard in (0, 1):
        array.write(shard, {frame: ROWS[frame] for frame in array.shard_range(shard)})
    writer = AppendedFrames(FrameArray.open(tmp_path / "a"), 3)
    for begin in (3, 6):
        writer.append({frame: ROWS[frame] for frame in range(begin, begin + 3)})
    writer.finish()
    assert np.array_equal(np.stack([FrameArray.open(tmp_path / "a").read(frame) for frame in range(9)]), ROWS[:9])
    assert not list((tmp_path / "a").glob("unfinished-*"))
