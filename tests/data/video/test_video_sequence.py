"""Frame k is the k-th picture of a plain decode, also where timestamps begin again or do not order the frames."""

import logging
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from video_files import write_video

from odkd.common.notes import file_digest
from odkd.data.video.decode import decode_frames
from odkd.data.video.index import VideoIndex, index_video


def plain_decode(path: Path) -> list[np.ndarray]:
    """Return the frames of a file one after the other, as OpenCV and ffmpeg count them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def joined(path: Path, *parts: dict[str, Any]) -> Path:
    """Write recordings and join their bytes."""
    content = b""
    for part in parts:
        piece = write_video(path.parent / f"part{path.suffix}", **part)
        content += piece.read_bytes()
        piece.unlink()
    path.write_bytes(content)
    return path


def check_against_plain_decode(index: VideoIndex, plain: list[np.ndarray]) -> None:
    assert index.num_frames == len(plain)
    assert np.all(np.diff(index.pts) > 0)
    every_frame = list(range(len(plain)))
    for frames in (every_frame, every_frame[::7], every_frame[-1:], [len(plain) // 2 - 1, len(plain) // 2]):
        for number, image in decode_frames(index, frames):
            assert image is not None, f"frame {number} was dropped"
            np.testing.assert_array_equal(image, plain[number], err_msg=f"frame {number}")


B_FRAMES = {"bf": 2, "x264-params": "b-adapt=0"}
SHORT, LONG = {"num_frames": 12, "group": 5, **B_FRAMES}, {"num_frames": 24, "group": 10, **B_FRAMES}
LATE = {"times": [50_000 + number for number in range(12)], **SHORT}
NEAR = {"times": [18 + number for number in range(24)], **LONG}
PAUSED = {"times": [5000 + number for number in range(24)], **LONG}
MPEG: dict[str, Any] = {"codec": "mpeg2video", "num_frames": 12, "group": 5}
VP9: dict[str, Any] = {"codec": "libvpx-vp9", "cpu-used": 8, "num_frames": 12, "group": 5}
JOINED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "two in a transport stream": ("c.ts", [SHORT, LONG]),
    "three": ("c.ts", [LONG, SHORT, LONG]),
    "the times go back far": ("c.ts", [LATE, SHORT]),
    "the times overlap": ("c.ts", [LONG, NEAR]),
    "Matroska": ("c.mkv", [SHORT, LONG]),
    "WebM": ("c.webm", [VP9, VP9]),
    "program stream": ("c.mpg", [MPEG, MPEG]),
    "a long pause": ("c.ts", [SHORT, PAUSED]),
    "a long pause in Matroska": ("c.mkv", [SHORT, PAUSED]),
}


@pytest.mark.parametrize("kind", JOINED)
def test_recordings_joined_end_to_end_keep_all_frames_in_the_order_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    name, parts = JOINED[kind]
    path = joined(tmp_path / name, *parts)
    with caplog.at_level(logging.WARNING):
        index = index_video(path, tmp_path)
    assert f"{name}: its times begin again or jump {len(parts) - 1} time" in caplog.text
    check_against_plain_decode(index, plain_decode(path))
    pause = 200 - 12 / 25 if "pause" in kind else 0
    assert index.duration_seconds == pytest.approx(sum(part["num_frames"] for part in parts) / 25 + pause, abs=0.1)


@pytest.mark.parametrize(("name", "options"), [("c.mp4", {}), ("c.flv", {}), ("c.wmv", {"codec": "wmv2"})])
def test_a_file_behind_the_end_of_another_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any]
) -> None:
    index_video(write_video(tmp_path / f"whole_{name}", **options), tmp_path)
    assert not caplog.records
    path = joined(tmp_path / name, options, options)
    check_against_plain_decode(index_video(path, tmp_path), plain_decode(path))
    assert f"{name}: another file was joined to its end, which FFmpeg does not read" in caplog.text


def test_frames_that_an_avi_file_shows_in_another_order_are_found(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", bf=3, preset="veryslow")  # AVI stores no presentation times
    check_against_plain_decode(index_video(path, tmp_path), plain_decode(path))


def test_b_frames_late_in_an_avi_file_are_noticed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", num_frames=90, group=90, **{"x264-params": "b-adapt=0:bframes=2"})
    check_against_plain_decode(index_video(path, tmp_path), plain_decode(path))


def test_stored_frames_of_a_joined_file_are_not_those_of_an_earlier_release(tmp_path: Path) -> None:
    path = joined(tmp_path / "c.ts", SHORT, SHORT)
    plain = write_video(tmp_path / "d.ts", **SHORT)
    assert index_video(path, tmp_path).digest != file_digest(path, tmp_path)
    assert index_video(plain, tmp_path).digest == file_digest(plain, tmp_path)


def test_a_size_that_changes_at_a_joint_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = joined(tmp_path / "c.ts", SHORT, {**SHORT, "height": 96, "width": 128})
    with caplog.at_level(logging.WARNING):
        index = index_video(path, tmp_path)
    assert "its frames have different sizes (96x64, 128x96) and are all brought to that of the first" in caplog.text
    assert (index.num_frames, index.width, index.height) == (24, 96, 64)
    assert all(image is not None for _, image in decode_frames(index, range(24)))


def test_a_size_that_changes_without_a_joint_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [write_video(tmp_path / f"{width}.ts", num_frames=60, width=width, bf=0) for width in (96, 128)]
    with av.open(str(tmp_path / "c.ts"), "w") as container:
        out, offset = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                packets = [packet for packet in source.demux(source.streams.video[0]) if packet.dts is not None]
                out = out or container.add_stream_from_template(source.streams.video[0])
                start = packets[0].dts - offset
                for packet in packets:
                    packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, out
                    container.mux(packet)
                offset = packets[-1].dts + 3600
    index = index_video(tmp_path / "c.ts", tmp_path)
    assert not caplog.records
    images = dict(decode_frames(index, [0, 59, 60, 119]))
    assert "c.ts: its frames change from 96x64 to 128x64 and are all brought to the size of the first" in caplog.text
    assert len(caplog.records) == 1
    assert {image.shape for image in images.values() if image is not None} == {(64, 96, 3)}


def test_frames_that_another_codec_hides_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = joined(tmp_path / "c.ts", SHORT, MPEG)
    index = index_video(path, tmp_path)
    assert index.num_frames < 24
    assert re.search(
        r"\d+ of its \d+ packets give no frame, as where a recording with another codec follows", caplog.text
    )
