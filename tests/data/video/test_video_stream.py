"""Videos of a folder become one stream of sampled frames."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from odkd.data.video.index import VideoIndex, index_video
from odkd.data.video.listing import list_videos, log_unused, unused
from odkd.data.video.stream import Stream, open_stream, sample


def names(folder: Path, start: int | None = None, stop: int | None = None) -> list[str]:
    return [path.name for path in list_videos(folder, start, stop)]


def open_folder(folder: Path, *, stride: int = 4, stride_seconds: float | None = None) -> Stream:
    return open_stream(
        folder / "videos", stride=stride, stride_seconds=stride_seconds, domains={"a2": "night"}, cache=folder
    )


def test_videos_are_in_natural_order_and_sliced_like_a_list(tmp_path: Path) -> None:
    for name in ("clip10.mp4", "clip9.MP4", "clip1.mkv", "b.webm", ".hidden.txt", "notes.txt", "clip9b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert names(tmp_path) == ["b.webm", "clip1.mkv", "clip9.MP4", "clip9b.mp4", "clip10.mp4"]
    assert names(tmp_path, 1, 3) == ["clip1.mkv", "clip9.MP4"]
    assert names(tmp_path, -1) == ["clip10.mp4"]
    assert names(tmp_path, None, -4) == ["b.webm"]


def test_hidden_files_are_no_videos(tmp_path: Path) -> None:
    for name in (".hidden.mp4", "._clip.mp4", "clip.mp4"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["clip.mp4"]
    assert names(tmp_path, 0, 1) == ["clip.mp4"]
    assert unused(tmp_path) == []


def test_files_without_the_extension_of_a_video_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "notes.txt").touch()
    with caplog.at_level(logging.INFO):
        log_unused(tmp_path)
    assert "notes.txt does not have the extension of a video" in caplog.text


def test_whatever_looks_like_a_video_and_is_not_used_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "videos"
    write_video(folder / "a1.mp4", num_frames=8)
    (folder / "b.mp4").symlink_to("/nowhere/b.mp4")
    (folder / "loop.mkv").symlink_to("loop.mkv")
    (folder / "disk").symlink_to(tmp_path / "not mounted")
    (folder / "day2" / "camera").mkdir(parents=True)
    (folder / "day2" / "camera" / "c.MP4").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.mkv").touch()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "e.mp4").mkdir()
    os.mkfifo(folder / "pipe.avi")
    (folder / "frames").mkdir()
    (folder / "frames" / "._x.mp4").touch()
    (folder / "good.mp4").symlink_to(folder / "a1.mp4")
    stream = open_folder(tmp_path)
    assert [video.stem for video in stream.videos] == ["a1", "good"]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" is a")[0].split(" is no")[0] for line in lines] == [
        f"left out: {folder / name}" for name in ("b.mp4", "day2", "disk", "e.mp4", "linked", "loop.mkv", "pipe.avi")
    ]
    assert "is a link to /nowhere/b.mp4, which is not there" in lines[0]
    assert "is a folder with videos (c.MP4 ...), and subfolders are not read" in lines[1]


def test_a_folder_of_broken_links_says_so(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").symlink_to("/nowhere/b.mp4")
    with pytest.raises(
        ValueError, match=r"contains no video; .* left out: .*b.mp4 is a link to /nowhere/b.mp4, which is not there"
    ):
        list_videos(tmp_path)


def test_two_videos_of_one_name_are_refused_if_both_are_chosen(tmp_path: Path) -> None:
    for name in ("drive.avi", "drive.mp4", "end.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=r"drive.avi and drive.mp4 in .* have one name, drive, and would share ground truth"
    ):
        list_videos(tmp_path)
    assert names(tmp_path, 1) == ["drive.mp4", "end.mp4"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing is not a folder; .* dataset.root"):
        list_videos(tmp_path / "missing", None, None)
    with pytest.raises(ValueError, match="contains no video; expected files such as"):
        list_videos(tmp_path, None, None)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"dataset.start=1, dataset.stop=None select none of 1 video in"):
        list_videos(tmp_path, 1, None)


def test_frames_are_sampled_as_in_the_reference_code(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "a10.mp4", num_frames=13)
    write_video(tmp_path / "videos" / "a2.mp4", num_frames=11)
    write_video(tmp_path / "videos" / "a3.mp4", num_frames=3)
    stream = open_folder(tmp_path)
    assert [video.stem for video in stream.videos] == ["a2", "a3", "a10"]
    assert stream.domains == ("night", "", "")
    assert stream.video_of.tolist() == [0, 0, 2, 2, 2]  # floor(frames / stride) per video
    assert stream.frame_of.tolist() == [0, 4, 0, 4, 8]
    np.testing.assert_allclose(stream.seconds, [0, 4 / 25, 14 / 25, 18 / 25, 22 / 25])
    fewer = stream.without({(0, 4), (2, 0), (1, 99)})
    assert fewer.video_of.tolist() == [0, 2, 2]
    assert fewer.frame_of.tolist() == [0, 4, 8]
    np.testing.assert_allclose(fewer.seconds, [0, 18 / 25, 22 / 25])
    assert len({stream.digest, fewer.digest, open_folder(tmp_path, stride=2).digest}) == 3
    assert open_folder(tmp_path).digest == stream.digest


def test_a_stride_in_seconds_agrees_with_one_in_frames_at_constant_rate(tmp_path: Path) -> None:
    for name in ("clip.mp4", "clip.mkv"):
        index = index_video(write_video(tmp_path / name, num_frames=40), tmp_path)
        for stride in (1, 3, 7, 13, 40):
            by_seconds = sample(index, stride=1, stride_seconds=stride / 25)
            assert by_seconds.tolist() == sample(index, stride=stride, stride_seconds=None).tolist()


def test_a_stride_in_seconds_takes_the_first_frame_at_or_after_each_multiple(tmp_path: Path) -> None:
    times = [100, 101, 105, 109, 110, 111, 140, 141, 142, 143, 150, 151]  # tenths of a second; the first is not 0
    path = write_video(tmp_path / "clip.mp4", num_frames=12, times=times, ticks=10)
    index = index_video(path, tmp_path)
    chosen = sample(index, stride=1, stride_seconds=0.5)
    expected = []
    for multiple in range(int(index.duration_seconds / 0.5)):
        expected.append(next(frame for frame, time in enumerate(times) if time - 100 >= 5 * multiple))
    assert chosen.tolist() == sorted(set(expected)) == [0, 2, 4, 6, 10]


def test_unreadable_files_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "videos" / "a1.mp4", num_frames=8)
    (tmp_path / "videos" / "a2.mp4").write_text("this is no video")
    with caplog.at_level(logging.WARNING):
        stream = open_folder(tmp_path)
    assert [video.stem for video in stream.videos] == ["a1"]
    assert f"left out: {tmp_path / 'videos' / 'a2.mp4'} cannot be read as a video" in caplog.text
    (tmp_path / "videos" / "a1.mp4").unlink()
    with pytest.raises(ValueError, match=r"no video of .* can be read \(1 tried\)"):
        open_folder(tmp_path)


def test_impossible_strides_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "a1.mp4", num_frames=8)
    with pytest.raises(ValueError, match=r"dataset.stride=0; expected at least 1"):
        open_folder(tmp_path, stride=0)
    with pytest.raises(ValueError, match=r"dataset.stride_seconds=-1; expected more than 0"):
        open_folder(tmp_path, stride_seconds=-1)
    with pytest.raises(ValueError, match=r"a stride of 9 frames exceeds every video .*8 frames, 0.3 s"):
        open_folder(tmp_path, stride=9)


def test_index_is_cached_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=12)
    first = index_video(path, tmp_path)

    def refuse(_: Path) -> VideoIndex:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr("odkd.data.video.index.scan_video", refuse)
        again = index_video(path, tmp_path)
    assert again.digest == first.digest
    assert again.pts.tolist() == first.pts.tolist()
    write_video(path, num_frames=11)
    changed = index_video(path, tmp_path)
    assert changed.num_frames == 11
    assert changed.digest != first.digest


def test_names_that_differ_only_in_their_unicode_form_are_one_name(tmp_path: Path) -> None:
    for name in ("caf\u00e9.mp4", "cafe\u0301.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="have one name"):
        names(tmp_path)


def test_a_video_shorter_than_the_stride_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "a.mp4", num_frames=6)
    write_video(tmp_path / "b.mp4", num_frames=2)
    stream = open_stream(tmp_path, stride=3, domains={}, cache=tmp_path)
    assert stream.frame_of.tolist() == [0, 3]
    assert f"left out: {tmp_path / 'b.mp4'} has 2 frames, fewer than a stride of 3" in caplog.text
