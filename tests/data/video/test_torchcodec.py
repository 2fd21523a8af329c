"""The second decoder returns PyAV's pixels at the video's own size, and refuses what it cannot tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extras import need
from video_files import write_video

from odkd.common.optional import is_installed
from odkd.data.video.decode import DECODER, decode_frames, decoder_of
from odkd.data.video.index import VideoIndex, index_video

FILES: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"bf": 3, "x264-params": "b-adapt=0"},
    "open_groups.mkv": {"bf": 3, "x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    "vp9.webm": {"codec": "libvpx-vp9", "cpu-used": 8},
    "variable.mp4": {"times": [0, 1, 2, 7, 8, 20, 21, 22, 23, 40, 41, 55], "num_frames": 12, "bf": 2},
}


def by_torchcodec(folder: Path, name: str, **options: Any) -> VideoIndex:
    path = folder / name
    if not path.exists():
        write_video(path, **options)
    return replace(index_video(path, folder), library="torchcodec")


@pytest.fixture
def _torchcodec(tmp_path: Path) -> None:
    need("torchcodec")
    try:
        next(decode_frames(by_torchcodec(tmp_path, "probe.mp4", num_frames=2), [0]))
    except ValueError as error:
        pytest.skip(f"torchcodec is there without FFmpeg's shared libraries: {str(error)[:80]}")


@pytest.mark.usefixtures("_torchcodec")
@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_of_pyav(tmp_path: Path, name: str) -> None:
    index = by_torchcodec(tmp_path, name, **FILES[name])
    for stride in (1, 5):
        frames = range(0, index.num_frames, stride)
        pyav = dict(decode_frames(replace(index, library="pyav"), frames))
        for number, image in decode_frames(index, frames):
            np.testing.assert_array_equal(image, pyav[number])
    small = dict(decode_frames(index, [1], size=(32, 48)))[1]
    theirs = dict(decode_frames(replace(index, library="pyav"), [1], size=(32, 48)))[1]
    assert small is not None
    assert theirs is not None
    assert np.abs(small.astype(int) - theirs).mean() < 20  # noise, scaled after the change to RGB and not before


def test_frames_of_the_two_decoders_are_stored_apart(tmp_path: Path) -> None:
    index = by_torchcodec(tmp_path, "a.mp4", num_frames=2)
    assert decoder_of(replace(index, library="pyav")) == DECODER
    assert decoder_of(index).startswith("torchcodec-")


def test_a_video_whose_frames_it_cannot_tell_is_refused(tmp_path: Path) -> None:
    index = by_torchcodec(tmp_path, "turned.mp4", num_frames=2, rotation=90)
    with pytest.raises(ValueError, match=r"is turned or mirrored, which .*torchcodec cannot read; set .*=pyav"):
        next(decode_frames(index, [0]))


def test_without_the_library_the_message_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = by_torchcodec(tmp_path, "a.mp4", num_frames=2)
    if is_installed("torchcodec"):
        monkeypatch.setitem(__import__("sys").modules, "torchcodec", None)
    with pytest.raises(ValueError, match=r"dataset.decoder=torchcodec needs torchcodec.*odkd\[torchcodec\]"):
        next(decode_frames(index, [0]))
