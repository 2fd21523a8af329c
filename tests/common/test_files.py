"""Files are whole or missing, and after a durable write their names are on the disk too."""

import errno
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from odkd.common.files import create_exclusive, flush_names, write_atomic
from odkd.data.labels.appended import AppendedFrames
from odkd.data.labels.shards import FrameArray
from odkd.runs.lines import PublishedLines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file is flushed")


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What is flushed to the disk, in order: the name, and the names in it if it is a folder."""
    seen: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append((path.name, sorted(entry.name for entry in path.iterdir()) if is_folder else []))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return seen


@pytest.mark.parametrize("write", [write_atomic, create_exclusive])
def test_content_is_flushed_before_its_name_and_the_name_after_it(write, flushed, tmp_path: Path) -> None:
    write(tmp_path / "run" / "summary.json", b"{}")
    (content, _), *rest = flushed
    assert content.startswith(".summary.json.")
    assert rest == [("run", ["summary.json"])]


@pytest.mark.parametrize("write", [write_atomic, create_exclusive])
def test_what_may_be_lost_is_not_flushed(write, flushed, tmp_path: Path) -> None:
    write(tmp_path / "still.png", b"a picture", durable=False)
    assert not flushed
    assert (tmp_path / "still.png").read_bytes() == b"a picture"


def test_the_names_of_files_that_grow_are_flushed_once(flushed, tmp_path: Path) -> None:
    array = FrameArray(tmp_path / "hard", num_frames=4, shape=(2, 3), shard_frames=2)
    array.folder.mkdir()
    labels = AppendedFrames(array, 0)
    maps = np.zeros((2, 3), np.uint8)
    labels.append({0: maps})
    labels.flush()
    assert flushed == [("unfinished-0", []), ("hard", ["unfinished-0"])]
    labels.append({1: maps})
    labels.flush()
    assert flushed[2:] == [("unfinished-0", [])]
    labels.finish()
    assert [name for name, _ in flushed[3:]] == ["unfinished-0", array.shard_path(0).parent.name]


def test_the_names_of_lines_are_flushed_once(flushed, tmp_path: Path) -> None:
    published = PublishedLines(tmp_path)
    for number in range(2):
        record = {"iteration": number}
        published.append([{"metrics": record, "timing": record}])
    folder = tmp_path.name
    assert [name for name, _ in flushed] == [
        "timing.jsonl",
        folder,
        "metrics.jsonl",
        folder,
        "timing.jsonl",
        "metrics.jsonl",
    ]


@pytest.mark.parametrize(("code", "is_known"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_may_be_unable_to_flush_names_but_a_failed_disk_is_told(
    code, is_known, monkeypatch, tmp_path
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if is_known:
        flush_names(tmp_path)
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            flush_names(tmp_path)
