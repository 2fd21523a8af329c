"""The frame store: correct pixels at every position, also after interrupted, parallel or damaged builds."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av.logging
import numpy as np
import pytest
from video_files import overwrite, packet_places, write_video

from odkd.data.video import frames as frames_module
from odkd.data.video.decode import decode_frames
from odkd.data.video.frames import prepare_frames
from odkd.data.video.stream import Stream, open_stream

SIZE = (32, 48)

BUILD = """
import sys, time
from pathlib import Path
from odkd.data.video import frames
from odkd.data.video.stream import open_stream
folder, wait = Path(sys.argv[1]), float(sys.argv[2])
frames.JOURNAL_FRAMES = 2
stream = open_stream(folder / "videos", stride=1, domains={}, cache=folder)
def progress(name, done, total):
    print("frames", done, flush=True)
    time.sleep(wait)
frames.prepare_frames(stream, size=(32, 48), cache=folder, progress=progress)
print("ready", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "videos" / "a1.mp4", bf=2, crf=10)
    write_video(tmp_path / "videos" / "a2.mkv", num_frames=23)
    return tmp_path


def open_folder(folder: Path, stride: int = 1) -> Stream:
    return open_stream(folder / "videos", stride=stride, domains={}, cache=folder)


def check(stream: Stream, reader: Any) -> None:
    expected = []
    for number, video in enumerate(stream.videos):
        for _, image in decode_frames(video, stream.frames_of_video(number), size=SIZE):
            assert image is not None
            expected.append(image)
    np.testing.assert_array_equal(reader.read(range(len(stream))), expected)
    mixed = [len(stream) - 1, 0, 5, 5, 1]
    np.testing.assert_array_equal(reader.read(mixed), np.stack(expected)[mixed])
    assert reader.read([]).shape == (0, *SIZE, 3)


def start_build(folder: Path, wait: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILD, str(folder), str(wait)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("store", ["disk", "none"])
def test_every_position_reads_its_frame(folder: Path, store: Any) -> None:
    stream = open_folder(folder, stride=3)
    ready, reader = prepare_frames(stream, size=SIZE, cache=folder, store=store)
    assert ready.digest == stream.digest
    check(ready, reader)


def test_a_prepared_video_is_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    stream = open_folder(folder)
    prepare_frames(stream, size=SIZE, cache=folder, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("a2", 23, 23)
    assert ("a1", 40, 40) in calls
    monkeypatch.setattr(frames_module, "decode_frames", None)
    ready, _ = prepare_frames(stream, size=SIZE, cache=folder)
    assert len(ready) == len(stream)
    with pytest.raises(TypeError):
        prepare_frames(stream, size=(16, 24), cache=folder)  # another size needs another store


@pytest.mark.parametrize("store", ["disk", "none"])
def test_damaged_frames_leave_the_stream_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, store: Any
) -> None:
    path = folder / "videos" / "a1.mp4"
    overwrite(path, packet_places(path)[13][1], b"\xff" * 12)
    stream = open_folder(folder)
    av.logging.set_level(av.logging.ERROR)  # as torchvision's import does
    for _ in range(2):  # the first call builds the store, the second finds it complete
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            ready, reader = prepare_frames(stream, size=SIZE, cache=folder, store=store)
        assert len(caplog.records) == 1
        assert f"{path} is damaged between 0.4" in caplog.text
        assert "of its 40 sampled frames are left out" in caplog.text
        assert 23 + 31 <= len(ready) < len(stream)
        check(ready, reader)


def test_a_stream_of_damaged_frames_only_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "videos" / "a1.mp4", group=100, bf=0, crf=10)
    stream = open_folder(tmp_path)
    for _, offset, _ in packet_places(path):
        overwrite(path, offset, b"\xff" * 12)
    with pytest.raises(ValueError, match=r"all sampled frames are damaged \(40\)"):
        prepare_frames(stream, size=SIZE, cache=tmp_path)


def test_a_killed_build_is_continued(folder: Path) -> None:
    with start_build(folder, 0.05) as build:
        assert build.stdout is not None
        for line in build.stdout:
            if line == "frames 12\n":
                os.kill(build.pid, signal.SIGKILL)
                break
    assert list((folder / "frames").glob("*/frames.partial"))
    assert not list((folder / "frames").glob("*/frames.raw"))
    done: list[int] = []
    stream = open_folder(folder)

    def progress(name: str, num_done: int, _: int) -> None:
        if name == "a1":
            done.append(num_done)

    prepare_frames(stream, size=SIZE, cache=folder, store="none")  # does not affect the partial store on disk
    ready, reader = prepare_frames(stream, size=SIZE, cache=folder, progress=progress)
    assert done
    assert min(done) > 12
    check(ready, reader)
    assert not list((folder / "frames").glob("*/frames.partial"))


def test_two_processes_build_one_store(folder: Path) -> None:
    builds = [start_build(folder, 0.01) for _ in range(2)]
    outputs = [build.communicate(timeout=60)[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert all(output.endswith("ready\n") for output in outputs)
    assert sum(output.count("frames 40\n") for output in outputs) == 1
    check(*prepare_frames(open_folder(folder), size=SIZE, cache=folder))


def test_a_full_disk_is_found_before_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(frames_module, "decode_frames", None)
    with pytest.raises(ValueError, match=r"needs 0.00 GB .* are free .*frame_store=none .*paths.cache="):
        prepare_frames(open_folder(folder), size=SIZE, cache=folder)


@pytest.mark.parametrize("kind", ["raw", "crc32c", "both cut", "sums lost", "manifest"])
def test_damaged_frames_of_the_store_are_decoded_again_with_a_warning(
    folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    generator = np.random.default_rng(3)
    prepared = prepare_frames(open_folder(folder), size=SIZE, cache=folder)
    for path in (folder / "frames").iterdir():
        for name in ("frames.raw", "frames.crc32c"):
            if kind == "both cut":
                os.truncate(path / name, (path / name).stat().st_size // 2)
            elif name.endswith(kind):
                content = np.fromfile(path / name, np.uint8)
                content[generator.integers(len(content), size=3)] ^= 1 << generator.integers(8, dtype=np.uint8)
                content.tofile(path / name)
        if kind == "sums lost":
            (path / "frames.crc32c").unlink()
        elif kind == "manifest":
            (path / "manifest.json").write_text("{}"[: generator.integers(2)])
    if kind in ("raw", "crc32c"):
        check(*prepared)  # a process that has it open
        assert "damaged; it is decoded again" in caplog.text
    caplog.clear()
    check(*prepare_frames(open_folder(folder), size=SIZE, cache=folder))
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bool(warned) == (kind not in ("raw", "crc32c"))
    caplog.clear()
    check(*prepare_frames(open_folder(folder), size=SIZE, cache=folder))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_frame_that_is_cut_off_while_the_store_is_open_is_decoded_again(folder: Path) -> None:
    prepared = prepare_frames(open_folder(folder), size=SIZE, cache=folder)
    for path in (folder / "frames").glob("*/frames.raw"):
        os.truncate(path, path.stat().st_size // 2)
    check(*prepared)


def test_a_store_of_an_earlier_release_is_read_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = open_folder(folder)
    _, reader = prepare_frames(stream, size=SIZE, cache=folder)
    expected = reader.read(range(len(stream)))
    for path in (folder / "frames").iterdir():
        (path / "frames.crc32c").unlink()
        note = json.loads((path / "manifest.json").read_text())["note"]
        del note["checksums"]
        (path / "manifest.json").write_text(json.dumps(note, indent=1))
    monkeypatch.setattr(frames_module, "decode_frames", None)
    _, reader = prepare_frames(stream, size=SIZE, cache=folder)
    np.testing.assert_array_equal(reader.read(range(len(stream))), expected)
