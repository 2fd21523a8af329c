"""VideoWriter: files play everywhere, and are complete or absent."""

import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from odkd.data.video.encode import MOST_SIDE, VideoWriter
from odkd.data.video.segments import SegmentWriter


def moving_pictures(num_frames: int, height: int, width: int) -> np.ndarray:
    """Return a bright square that moves over a gradient: uint8 [F, H, W, 3]."""
    pictures = np.zeros((num_frames, height, width, 3), np.uint8)
    pictures[..., 0] = np.linspace(0, 200, width)
    pictures[..., 1] = np.linspace(40, 220, height)[:, None]
    for number, picture in enumerate(pictures):
        picture[10:20, number : number + 10] = (20, 40, 230)
    return pictures


def write(path: Path, pictures: np.ndarray, *, frame_rate: float = 10.0, keyframe_interval: int = 25) -> Path:
    height, width = pictures.shape[1:3]
    with VideoWriter(
        path, width=width, height=height, frame_rate=frame_rate, keyframe_interval=keyframe_interval
    ) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_written_video_decodes_to_nearly_the_same_pictures(tmp_path: Path) -> None:
    pictures = moving_pictures(30, 64, 96)
    decoded = decode(write(tmp_path / "video.mp4", pictures))
    assert decoded.shape == pictures.shape
    assert np.abs(decoded.astype(int) - pictures).mean() < 4


def test_the_file_is_yuv420p_h264_whose_index_comes_before_its_data(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", moving_pictures(30, 64, 96), frame_rate=29.97, keyframe_interval=10)
    content = path.read_bytes()
    assert content[4:8] == b"ftyp"
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(29.97)
        keyframes = [number for number, frame in enumerate(container.decode(stream)) if frame.key_frame]
    assert max(np.diff(keyframes)) <= 10


@pytest.mark.parametrize(("height", "width"), [(65, 96), (64, 97), (65, 97), (1, 1)])
def test_an_odd_size_is_padded_by_its_last_row_and_column(tmp_path: Path, height: int, width: int) -> None:
    pictures = np.full((5, height, width, 3), 120, np.uint8)
    pictures[:, -1], pictures[:, :, -1] = 220, 220
    decoded = decode(write(tmp_path / "odd.mp4", pictures)).astype(int)
    assert decoded.shape == (5, height + height % 2, width + width % 2, 3)
    assert np.abs(decoded[:, :height, :width] - pictures).mean() < 4
    assert np.abs(decoded[:, -1] - 220).mean() < 8
    assert np.abs(decoded[:, :, -1] - 220).mean() < 8


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    pictures = moving_pictures(20, 64, 96)
    first, second = write(tmp_path / "a.mp4", pictures), write(tmp_path / "b.mp4", pictures)
    assert first.read_bytes() == second.read_bytes()


def test_an_exception_leaves_no_file_and_keeps_an_earlier_one(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", moving_pictures(3, 32, 32))
    before = path.read_bytes()
    with (
        pytest.raises(ValueError, match="expected"),
        VideoWriter(path, width=32, height=32, frame_rate=10) as writer,
    ):
        writer.write(np.zeros((1, 1, 3), np.uint8))
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]
    assert path.read_bytes() == before


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    script = f"""
import numpy as np, pathlib
from odkd.data.video.encode import VideoWriter
with VideoWriter(pathlib.Path({str(path)!r}), width=64, height=64, frame_rate=10) as writer:
    for number in range(10**9):
        writer.write(np.full((64, 64, 3), number % 256, np.uint8))
        if number == 200:
            print("writing", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"writing"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    pictures = moving_pictures(3, 64, 64)
    assert len(decode(write(path, pictures))) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


def test_pictures_of_another_shape_or_type_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "video.mp4", width=32, height=16, frame_rate=10) as writer:
        writer.write(np.zeros((16, 32, 3), np.uint8))
        with pytest.raises(ValueError, match=r"\(32, 16, 3\).*expected \(16, 32, 3\)"):
            writer.write(np.zeros((32, 16, 3), np.uint8))
        with pytest.raises(ValueError, match="float64"):
            writer.write(np.zeros((16, 32, 3)))


@pytest.mark.parametrize(("width", "height", "frame_rate"), [(0, 16, 10), (16, -1, 10), (16, 16, 0), (16, 16, np.nan)])
def test_an_impossible_size_or_frame_rate_is_refused(
    tmp_path: Path, width: int, height: int, frame_rate: float
) -> None:
    with pytest.raises(ValueError, match="cannot write a video"):
        VideoWriter(tmp_path / "video.mp4", width=width, height=height, frame_rate=frame_rate)
    assert not list(tmp_path.iterdir())


def test_a_video_without_a_picture_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="no picture"),
        VideoWriter(tmp_path / "video.mp4", width=32, height=16, frame_rate=10),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_side_that_h264_does_not_have_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at most 16384 a side"):
        VideoWriter(tmp_path / "a.mp4", width=32, height=MOST_SIDE + 2, frame_rate=1.0)
    one = Fraction(1)
    with pytest.raises(ValueError, match="expected at most 16384 a side"):
        SegmentWriter(tmp_path / "a.nut", width=MOST_SIDE + 2, height=32, frame_rate=one, time_base=one, crf=23)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "longest.mp4", np.zeros((1, 32, MOST_SIDE, 3), np.uint8))
