"""Decoding is exact: every frame equals the frame with its timestamp in a plain decode of the complete file."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from video_files import decode_naively, packet_places, picture, write_video

from odkd.common.notes import file_digest
from odkd.data.video.decode import decode_frames
from odkd.data.video.decoder import Decoder
from odkd.data.video.index import VideoIndex, index_video

VFR = [0, 1, 2, 7, 8, 20, 21, 22, 23, 40, 41, 55, 56, 57, 70, 71, 72, 90, 91, 92, 93, 110, 111, 140, 141]

FILES: dict[str, dict[str, Any]] = {
    "constant.mp4": {},
    "variable.mp4": {"times": VFR, "num_frames": len(VFR), "bf": 2},
    "variable.mkv": {"times": VFR, "num_frames": len(VFR), "bf": 2, "ticks": 30},
    "late.mp4": {"times": [1000 + 2 * number for number in range(40)], "bf": 2},
    "late.mkv": {"times": [1000 + 2 * number for number in range(40)], "bf": 2},
    "b_frames.mp4": {"bf": 3, "x264-params": "b-adapt=0"},
    "b_pyramid.mkv": {"bf": 7, "x264-params": "b-adapt=0:b-pyramid=normal"},
    "open_groups.mp4": {"bf": 3, "x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    "open_groups.mkv": {"bf": 3, "x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    "gradual_refresh.mkv": {"x264-params": "intra-refresh=1"},
    "fragmented.mp4": {"bf": 2, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "only_keyframes.mp4": {"group": 1},
    "short_groups.mp4": {"group": 2, "bf": 2, "x264-params": "b-adapt=0"},
    "slices.mp4": {"slices": 4, "bf": 2},
    "odd.mp4": {"height": 67, "width": 93},
    "rotated.mp4": {"rotation": 90},
    "vp9.webm": {"codec": "libvpx-vp9", "cpu-used": 8},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": 1, "lag-in-frames": 16, "cpu-used": 8},
    "hevc_open_groups.mp4": {"codec": "libx265", "bf": 3, "x265-params": "open-gop=1:scenecut=0:log-level=0"},
    "av1.mp4": {"codec": "libsvtav1", "preset": 12},
    "mpeg4.avi": {"codec": "mpeg4", "bf": 2},
    "broadcast.ts": {"bf": 2},
    "pictures.mov": {"codec": "mjpeg", "num_frames": 10},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, options in FILES.items():
        write_video(folder / name, **options)
    write_video(folder / "b_frames.mkv", num_frames=80, bf=3, **{"x264-params": "b-adapt=0:scenecut=0"})
    once = write_video(folder / "once.ts").read_bytes()
    (folder / "joined.ts").write_bytes(once + once)
    return folder


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="real-time threads are Linux's")
def test_encoding_leaves_the_priority_of_the_process(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    write_video(tmp_path / "av1.mp4", **FILES["av1.mp4"])
    assert os.sched_getscheduler(0) == before


def check(index: VideoIndex, frames: list[int], plain: dict[int, np.ndarray]) -> None:
    decoded = list(decode_frames(index, frames))
    assert [number for number, _ in decoded] == frames
    for number, image in decoded:
        assert image is not None, f"frame {number} was dropped"
        assert image.flags.c_contiguous
        np.testing.assert_array_equal(image, np.rot90(plain[int(index.pts[number])], index.rotation // 90))


@pytest.mark.parametrize("name", FILES)
def test_frames_equal_those_of_a_plain_decode(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    index = index_video(videos / name, tmp_path)
    assert not caplog.records, "there is no warning about an intact file"
    plain = decode_naively(videos / name)
    assert index.pts.tolist() == sorted(plain)
    for stride in (1, 4, 13, 24):
        check(index, list(range(0, index.num_frames, stride)), plain)


@pytest.mark.parametrize("name", FILES)
def test_a_frame_does_not_depend_on_where_decoding_starts(videos: Path, tmp_path: Path, name: str) -> None:
    index = index_video(videos / name, tmp_path)
    plain = decode_naively(videos / name)
    for number in range(index.num_frames):
        check(index, [number], plain)


def test_times_and_sizes_are_those_of_the_file(videos: Path, tmp_path: Path) -> None:
    variable = index_video(videos / "variable.mkv", tmp_path)
    np.testing.assert_allclose(variable.seconds, np.asarray(VFR) / 30, atol=0.0006)  # ticks of 1 ms
    late = index_video(videos / "late.mp4", tmp_path)
    assert late.pts[0] * late.time_base == Fraction(40)
    assert late.seconds[0] == 0
    odd = index_video(videos / "odd.mp4", tmp_path)
    assert (odd.height, odd.width) == (67, 93)
    assert index_video(videos / "constant.mp4", tmp_path).keyframes.tolist() == [0, 10, 20, 30]


def test_frames_are_counted_if_the_container_has_no_frame_count(videos: Path, tmp_path: Path) -> None:
    for name in ("vp9.webm", "b_pyramid.mkv"):
        with av.open(str(videos / name)) as container:
            assert container.streams.video[0].frames == 0
        assert index_video(videos / name, tmp_path).num_frames == 40


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_rotated_video_is_decoded_upright(tmp_path: Path, rotation: int) -> None:
    """Check the rotation tag with which phones store pictures that were taken sideways."""
    path = write_video(tmp_path / "phone.mp4", num_frames=2, rotation=rotation, crf=1)
    index = index_video(path, tmp_path)
    upright = np.rot90(picture(1, 64, 96), rotation // 90).astype(int)
    assert index.rotation == rotation
    assert (index.height, index.width) == upright.shape[:2]
    image = dict(decode_frames(index, [1]))[1]
    assert image is not None
    assert np.mean(np.abs(image - upright)) < 25 < np.mean(np.abs(image - upright[::-1, ::-1]))  # lossy
    small = dict(decode_frames(index, [1], size=(30, 20)))[1]
    assert small is not None
    assert small.shape == (30, 20, 3)
    whole = image[: image.shape[0] // 2].mean() - image[image.shape[0] // 2 :].mean()
    halves = small[:15].mean() - small[15:].mean()
    assert halves == pytest.approx(whole, abs=3)


# a, b, c, d of the display matrix -> the filters that ffmpeg puts before its output (ffmpeg_filter.c, autorotate)
ORIENTATIONS: dict[tuple[int, int, int, int], list[tuple[str, str]]] = {
    (1, 0, 0, 1): [],
    (0, 1, -1, 0): [("transpose", "clock")],
    (-1, 0, 0, -1): [("hflip", ""), ("vflip", "")],
    (0, -1, 1, 0): [("transpose", "cclock")],
    (-1, 0, 0, 1): [("hflip", "")],
    (1, 0, 0, -1): [("vflip", "")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
}


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=str)
def test_each_turn_and_mirror_of_a_display_matrix_gives_the_pixels_of_ffmpeg(tmp_path: Path, matrix: Any) -> None:
    path = write_video(tmp_path / "front.mp4", num_frames=3, matrix=matrix)
    index = index_video(path, tmp_path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(template=stream), *(graph.add(*words) for words in ORIENTATIONS[matrix])]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        theirs = []
        for frame in container.decode(stream):
            graph.push(frame)
            theirs.append(graph.pull().to_ndarray(format="rgb24"))  # type: ignore[union-attr]
    assert (index.height, index.width) == theirs[0].shape[:2]
    for number, image in decode_frames(index, range(3)):
        np.testing.assert_array_equal(image, theirs[number])
    small = dict(decode_frames(index, [1], size=(24, 20)))[1]
    assert small is not None
    assert small.shape == (24, 20, 3)
    shrunk = np.asarray(Image.fromarray(theirs[1]).resize((20, 24), Image.Resampling.BOX)).astype(int)
    distances = [np.mean(np.abs(seen - small)) for seen in (shrunk, shrunk[:, ::-1], shrunk[::-1], shrunk[::-1, ::-1])]
    assert distances[0] < 25 < min(distances[1:])  # colours are not scaled in the same way


def test_a_turn_that_is_no_quarter_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = index_video(write_video(tmp_path / "tilted.mp4", num_frames=3, matrix=(1, 1, -1, 1)), tmp_path)
    assert "its display matrix turns it by -45 degrees; odkd turns only by quarters, here by 0" in caplog.text
    caplog.clear()
    empty = index_video(write_video(tmp_path / "empty.mp4", num_frames=3, matrix=(0, 0, 0, 0)), tmp_path)
    assert (empty.rotation, empty.is_mirrored, caplog.text) == (0, False, "")
    assert index.rotation == 0


def test_frames_stored_of_a_mirrored_video_are_not_those_of_an_earlier_release(tmp_path: Path) -> None:
    mirrored = index_video(write_video(tmp_path / "a.mp4", num_frames=3, matrix=(-1, 0, 0, 1)), tmp_path)
    turned = index_video(write_video(tmp_path / "b.mp4", num_frames=3, rotation=90), tmp_path)
    assert mirrored.digest != file_digest(mirrored.path, tmp_path)
    assert turned.digest == file_digest(turned.path, tmp_path)


def decoded_packets(index: VideoIndex, frames: Sequence[int], monkeypatch: Any, num_threads: int) -> list[int]:
    """Return the frame numbers of the packets that are decoded, ascending."""
    fed: list[int] = []
    pictures = Decoder._pictures

    def count(self: Decoder, packet: Any, tracker: Any) -> Any:
        if packet is not None:
            fed.append(int(np.searchsorted(index.pts, packet.pts)))
        return pictures(self, packet, tracker)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "_pictures", count)
        decoded = list(decode_frames(index, frames, num_threads=num_threads))
    assert [number for number, _ in decoded] == list(frames)
    return sorted(fed)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("frames", [[12, 14, 31], [0, 10, 20], [5, 71]], ids=str)
def test_of_a_group_the_packets_up_to_the_last_wanted_frame_are_decoded_and_one_more(
    videos: Path, tmp_path: Path, monkeypatch: Any, frames: list[int], num_threads: int
) -> None:
    monkeypatch.setattr("odkd.data.video.decode.PIECE_FRAMES", 1)
    for name in ("b_frames.mkv", "joined.ts"):  # joined recordings: packets are counted from the start of the file
        index = index_video(videos / name, tmp_path)
        assert (index.packets is not None) == (name == "joined.ts")
        times = [index.pts[number] for number in index.packets] if index.packets is not None else []
        order = np.searchsorted(index.pts, times or [pts for pts, _, _ in packet_places(videos / name)]).tolist()
        needed: list[int] = []
        for group in sorted({number // 10 for number in frames}):
            last = max(order.index(number) for number in frames if number // 10 == group)
            needed += order[order.index(10 * group) : last + 2]
        assert decoded_packets(index, frames, monkeypatch, num_threads) == sorted(needed)


@pytest.mark.parametrize("name", FILES)
def test_frames_are_the_same_by_any_number_of_threads(
    videos: Path, tmp_path: Path, monkeypatch: Any, name: str
) -> None:
    monkeypatch.setattr("odkd.data.video.decode.PIECE_FRAMES", 1)
    index = index_video(videos / name, tmp_path)
    for stride in (1, 7):
        frames = range(0, index.num_frames, stride)
        one, many = (list(decode_frames(index, frames, num_threads=number)) for number in (1, 3))
        for (number, image), (same, its_image) in zip(one, many, strict=True):
            assert number == same
            np.testing.assert_array_equal(image, its_image)


def test_closing_the_generator_early_closes_the_file(videos: Path, tmp_path: Path) -> None:
    index = index_video(videos / "slices.mp4", tmp_path)
    for _ in range(20):
        frames = decode_frames(index, range(40), num_threads=2)
        next(frames)
        frames.close()  # type: ignore[attr-defined]
    open_files = [path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert "slices.mp4" not in open_files
