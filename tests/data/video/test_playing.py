"""A dataset's videos, files and folders as live sources: which frames come, when, and what happens when they do not."""

import functools
import http.server
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from video_files import write_video

from odkd.data.video import arrivals, camera, growing
from odkd.data.video.arrivals import Arrival, Pacer
from odkd.data.video.camera import Camera
from odkd.data.video.growing import Growing
from odkd.data.video.open_source import open_source
from odkd.data.video.playing import Playing, stretches
from odkd.data.video.stream import make_stream, no_stream, open_stream

SIZE = (16, 32)


def fake(num_frames: int) -> Any:
    seconds = np.arange(num_frames) / 5
    return SimpleNamespace(
        num_frames=num_frames, seconds=seconds, duration_seconds=num_frames / 5, digest="x", stem="v"
    )


def streamed(pairs: list[tuple[int, int]], *lengths: int) -> Any:
    video_of, frame_of = (np.array(column) for column in zip(*pairs, strict=True))
    return make_stream(tuple(map(fake, lengths)), tuple("" for _ in lengths), video_of, frame_of)


def test_frames_between_sampled_ones_are_played_too() -> None:
    stream = streamed([(0, 0), (0, 5), (0, 10), (1, 0), (1, 5)], 17, 10)
    first, second = stretches(stream)
    assert (first.frames, first.positions) == (range(15), {0: 0, 5: 1, 10: 2})
    assert (second.video, second.frames, second.positions) == (1, range(10), {0: 3, 5: 4})


def test_stretches_that_alternate_are_played_in_their_order_and_nothing_between_them() -> None:
    stream = streamed([(0, 0), (0, 5), (1, 0), (1, 5), (0, 10), (0, 15)], 20, 20)
    assert [(part.video, part.frames) for part in stretches(stream)] == [
        (0, range(10)),
        (1, range(10)),
        (0, range(10, 20)),
    ]


def test_a_frame_comes_at_its_time_and_lost_time_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    waits: list[float] = []

    class Closed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(round(timeout or 0.0, 6))
            now[0] += timeout or 0.0
            return False

    monkeypatch.setattr(arrivals.time, "monotonic", lambda: now[0])
    pacer = Pacer(Closed())
    assert pacer.wait(0.0)
    assert pacer.wait(0.04)
    now[0] += 0.1  # a little late: the next frames come at their times
    assert pacer.wait(0.08)
    assert pacer.wait(0.20)
    now[0] += 60.0  # the process was stopped
    assert pacer.wait(0.24)
    assert pacer.wait(0.28)
    assert waits == [0.0, 0.04, 0.0, 0.06, 0.0, 0.04]


def test_a_dataset_is_played_at_its_speed_with_the_frames_that_a_run_would_sample(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / "videos" / f"{name}.mp4", num_frames=10, height=32, width=64, ticks=50)
    stream = open_stream(tmp_path / "videos", stride=5, domains={"a": "day"}, cache=tmp_path / "cache")
    source = Playing(stream, size=SIZE, repeats=2)
    began = time.monotonic()
    found = list(source.arrivals())
    assert time.monotonic() - began > 0.6  # 40 frames at 50 fps
    assert [frame.number for frame in found] == list(range(40))
    assert [frame.position for frame in found if frame.is_sampled] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [frame.domain for frame in found[::10]] == ["day", "", "day", ""]
    assert found[0].image_HWC.shape == (*source.frame_size, 3) == (32, 64, 3)
    assert found[0].small_HWC.shape == (*SIZE, 3)


def test_a_source_that_is_closed_ends_at_once(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=100, height=32, width=64, ticks=5)
    source = open_source(str(tmp_path / "a.mp4"), no_stream(), size=SIZE, stride=2, repeats=1, patience=9)
    found: list[Arrival] = []

    def read() -> None:
        found.extend(source.arrivals())

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.3)
    source.close()
    thread.join(5)
    assert not thread.is_alive()
    assert 1 <= len(found) < 20


def test_a_file_is_played_as_often_as_asked(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=6, height=32, width=64, ticks=50)
    source = Camera(str(tmp_path / "a.mp4"), size=SIZE, stride=3, repeats=2)
    found = list(source.arrivals())
    assert [frame.number for frame in found if frame.is_sampled] == [0, 3, 6, 9]
    assert len(found) == 12


def test_what_cannot_be_opened_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        open_source(str(tmp_path / "none.mp4"), no_stream(), size=SIZE, stride=1, repeats=1, patience=1)


def test_images_come_when_their_files_are_complete_and_end_with_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "SLOW_SECONDS", 60.0)
    picture = Image.new("RGB", (64, 32), (200, 0, 0))
    for name in ("0.png", "1.png"):
        picture.save(tmp_path / name)
    source = Growing(tmp_path, size=SIZE, stride=2, patience=60.0)
    assert source.frame_size == (32, 64)
    came: list[Arrival] = []
    frames = source.arrivals()
    came.append(next(frames))  # the last that was there
    picture.save(tmp_path / "half.bin", "PNG")
    content = (tmp_path / "half.bin").read_bytes()
    (tmp_path / "2.png").write_bytes(content[: len(content) // 2])

    def complete() -> None:
        (tmp_path / "2.png").write_bytes(content)
        picture.save(tmp_path / "10.png")

    threading.Timer(0.15, complete).start()
    came.append(next(frames))
    came.append(next(frames))
    assert source.state == "running"
    (tmp_path / "11.png").write_bytes(b"no picture")
    monkeypatch.setattr(growing, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(source, "_patience", 0.3)
    assert list(frames) == []
    assert source.state.startswith("waiting for the source")
    assert [frame.number for frame in came] == [0, 1, 2]
    assert [frame.is_sampled for frame in came] == [True, False, True]
    assert came[0].small_HWC.shape == (*SIZE, 3)


class Served:
    """A folder on a server that may be away."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_stream_whose_server_goes_away_and_comes_back_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "RETRY_SECONDS", 0.05)
    write_video(tmp_path / "a.mp4", num_frames=5, height=32, width=64)
    served = Served(tmp_path)
    source = Camera(f"http://127.0.0.1:{served.port}/a.mp4", size=SIZE, stride=1, patience=60.0)
    frames = source.arrivals()
    assert [next(frames).number for _ in range(5)] == [0, 1, 2, 3, 4]
    served.end()
    states: list[str] = []

    def come_back() -> None:
        while source.state == "running":
            time.sleep(0.01)
        states.append(source.state)
        back.append(Served(tmp_path, served.port))

    back: list[Served] = []
    threading.Thread(target=come_back).start()
    assert next(frames).number == 5
    assert states[0].startswith("waiting for the source")
    assert source.state == "running"
    back[0].end()
    monkeypatch.setattr(source, "_patience", 0.2)
    rest = [frame.number for frame in frames]
    assert rest[:4] == [6, 7, 8, 9]
