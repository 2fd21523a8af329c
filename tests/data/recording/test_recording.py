"""Recording of a live session: what is kept to the bit, what a kill leaves, and what the disk cannot stop."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recorded_sessions import HEIGHT, WIDTH, picture, recorder
from shown_views import CLASSES, PALETTE

from odkd.config.compose import compose_config
from odkd.config.parts_stream import StreamParts
from odkd.data.recording import recorder as recorder_module
from odkd.data.recording import writing
from odkd.data.recording.recorder import Recorder
from odkd.data.video.decode import decode_frames
from odkd.data.video.index import index_video
from odkd.data.video.stream import Stream, open_stream


def record(folder: Path, times: dict[int, float], *, every: int = 5, delay: float = 0.5) -> Recorder:
    """Record frames at these times, of which the teacher labels one of `every`."""
    made = recorder(folder)
    for number, seconds in times.items():
        image_HWC, labels_HW = picture(number)
        made.frame(seconds, number, image_HWC)
        if number % every == 0:
            made.label(number, labels_HW, seconds + delay)
    made.close()
    return made


def opened(folder: Path, cache: Path) -> Stream:
    return open_stream(folder / "videos", stride=1, domains={}, cache=cache)


def label(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / "labels" / f"{name}.png") as image:
        return np.asarray(image)


def images(folder: Path, cache: Path) -> Iterator[np.ndarray]:
    for path in sorted((folder / "videos").iterdir()):
        index = index_video(path, cache)
        for _, image_HWC in decode_frames(index, range(index.num_frames)):
            assert image_HWC is not None
            yield image_HWC


def test_frames_and_labels_come_back_to_the_bit_and_at_their_times(tmp_path: Path) -> None:
    times = {number: 3.0 + 0.0401 * number + 0.01 * (number % 3) for number in range(100, 150)}
    made = record(tmp_path / "kept", times)
    assert (made.num_frames, made.num_labels, made.num_dropped, made.problem) == (50, 10, 0, None)
    for number, image_HWC in zip(times, images(tmp_path / "kept", tmp_path / "cache"), strict=True):
        np.testing.assert_array_equal(image_HWC, picture(number)[0])
    stream = opened(tmp_path / "kept", tmp_path / "cache")
    expected = [seconds - times[100] for seconds in times.values()]
    np.testing.assert_allclose(stream.seconds, expected, atol=0.0011)  # Matroska counts milliseconds
    for position, number in enumerate(times):
        labels_HW = picture(number)[1] if number % 5 == 0 else np.full((HEIGHT, WIDTH), 255)
        np.testing.assert_array_equal(label(tmp_path / "kept", stream.name_of(position)), labels_HW)


def test_arrays_may_change_as_soon_as_they_are_given(tmp_path: Path) -> None:
    made, (image_HWC, labels_HW) = recorder(tmp_path), picture(1)
    made.frame(0.0, 1, image_HWC)
    made.label(1, labels_HW, 0.1)
    image_HWC[:], labels_HW[:] = 0, 0
    made.close()
    (back_HWC,) = images(tmp_path, tmp_path / "cache")
    np.testing.assert_array_equal(back_HWC, picture(1)[0])
    np.testing.assert_array_equal(label(tmp_path, "session_0001_0001/000000"), picture(1)[1])


def test_segments_follow_one_another_in_time_and_a_gap_stays_inside_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SEGMENT_SECONDS", 2.0)
    times = {number: 0.1 * number + (20.0 if number >= 20 else 0.0) for number in range(60)}  # a gap of 20 s at 2 s
    record(tmp_path / "kept", times, every=1)
    stream = opened(tmp_path / "kept", tmp_path / "cache")
    assert [video.num_frames for video in stream.videos] == [21, 20, 19]
    np.testing.assert_allclose(stream.seconds, list(times.values()), atol=0.005)


def test_a_frame_of_another_size_begins_a_new_file(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    for number, height in enumerate((24, 24, 30)):
        made.frame(number / 10, number, picture(number, height)[0])
    made.close()
    assert [image.shape[0] for image in images(tmp_path, tmp_path / "cache")] == [24, 24, 30]


def test_a_second_session_is_appended_and_changes_nothing_of_the_first(tmp_path: Path) -> None:
    record(tmp_path / "kept", {number: number / 10 for number in range(3)})
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*.*") if path.suffix != ".yaml"}
    record(tmp_path / "kept", {number: number / 10 for number in range(2)}, every=2)
    assert {path: path.read_bytes() for path in before} == before
    stream = opened(tmp_path / "kept", tmp_path / "cache")
    names = [stream.name_of(position) for position in range(len(stream))]
    assert names == [f"session_000{session}_0001/00000{frame}" for session in (1, 2) for frame in range(4 - session)]


def test_two_recorders_of_one_folder_keep_apart(tmp_path: Path) -> None:
    first, second = recorder(tmp_path), recorder(tmp_path)
    for made, number in ((first, 1), (second, 2)):
        made.frame(0.0, number, picture(number)[0])
        made.close()
    back = list(images(tmp_path, tmp_path / "cache"))
    np.testing.assert_array_equal(back, [picture(1)[0], picture(2)[0]])


def test_a_label_of_a_frame_that_was_not_kept_is_dropped_and_counted(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    made.frame(0.0, 1, picture(1)[0])
    made.label(7, picture(7)[1], 1.0)
    made.close()
    assert (made.num_labels, made.num_dropped) == (0, 1)


def test_what_a_slow_disk_has_no_time_for_is_dropped_and_counted_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_free = threading.Event()
    made = writing.LosslessWriter.write
    monkeypatch.setattr(writing.LosslessWriter, "write", lambda *given: is_free.wait(60) and made(*given))
    monkeypatch.setattr(recorder_module, "MOST_BYTES", 4 * HEIGHT * WIDTH * 3)
    slow = recorder(tmp_path)
    for number in range(100):
        slow.frame(number / 10, number, picture(number)[0])
    assert 95 <= slow.num_dropped <= 96  # four wait, one may be with the writer
    is_free.set()
    slow.close()
    assert slow.num_frames + slow.num_dropped == 100
    assert len(list(images(tmp_path, tmp_path / "cache"))) == slow.num_frames
    assert f"{slow.num_dropped} frames and labels are missing" in caplog.text


FULL = """
import resource, signal, sys, logging
from pathlib import Path
from recorded_sessions import picture, recorder
logging.basicConfig(format="%(message)s")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
made = recorder(Path(sys.argv[1]))
for number in range(300):
    made.frame(number / 25, number, picture(number, 48, 64)[0])
    made.label(number, picture(number, 48, 64)[1], number / 25)
made.close()
made.frame(99.0, 999, picture(1)[0])
made.close()
print(made.num_frames, made.num_dropped, made.problem)
"""


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    places = os.pathsep.join(sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": places},
    )


@pytest.mark.slow
def test_a_disk_that_takes_no_more_ends_the_recording_with_one_warning_and_what_is_there_stays(tmp_path: Path) -> None:
    process = run(FULL, str(tmp_path / "kept"))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    num_frames, num_dropped, problem = out.strip().split(maxsplit=2)
    assert problem == "File too large"
    assert int(num_dropped) > 0
    assert err.count("the recording in") == 1, err
    assert "the session goes on" in err
    kept = list(images(tmp_path / "kept", tmp_path / "cache"))
    assert 0 < len(kept) <= int(num_frames)
    np.testing.assert_array_equal(kept[0], picture(0, 48, 64)[0])


ENDLESS = """
import sys, time, itertools
from pathlib import Path
from recorded_sessions import picture, recorder
made = recorder(Path(sys.argv[1]))
for number in itertools.count():
    image_HWC, labels_HW = picture(number)
    made.frame(number / 25, number, image_HWC)
    if number % 5 == 0:
        made.label(number, labels_HW, number / 25)
    while made.num_frames < number:
        time.sleep(0.001)
    print(number, flush=True)
"""


def test_a_killed_session_loses_a_second_at_most_and_the_next_one_is_appended(tmp_path: Path) -> None:
    process = run(ENDLESS, str(tmp_path / "kept"))
    assert process.stdout is not None
    written = next(int(line) for line in process.stdout if int(line) >= 130)
    process.kill()
    process.communicate()
    back = list(images(tmp_path / "kept", tmp_path / "cache"))
    assert len(back) >= written - 25
    for number, image_HWC in enumerate(back):
        np.testing.assert_array_equal(image_HWC, picture(number)[0])
    record(tmp_path / "kept", {number: number / 25 for number in range(10)})
    stream = opened(tmp_path / "kept", tmp_path / "cache")
    assert [(stream.video_of == video).sum() for video in (0, 1)] == [len(back), 10]
    for position in range(len(back)):
        labels_HW = label(tmp_path / "kept", stream.name_of(position))
        np.testing.assert_array_equal(labels_HW, picture(position)[1] if position % 5 == 0 else 255)
    journal = (tmp_path / "kept" / "sessions" / "0001.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in journal][:3] == [0, 5, 10]


def test_the_settings_of_a_replay_fit_the_recording(tmp_path: Path) -> None:
    made = recorder(tmp_path / "a b")
    for number in range(20):
        made.frame(number / 10, number, picture(number)[0])
        made.took(student_seconds=0.02, train_seconds=0.3, teacher_seconds=number / 10)
    made.close()
    cfg = compose_config(["experiment=replay"], str(tmp_path / "a b" / "replay"))
    assert list(cfg.dataset.classes) == CLASSES
    assert [list(colour) for colour in cfg.dataset.palette] == PALETTE
    assert list(cfg.dataset.size) == [HEIGHT, WIDTH]
    durations = (cfg.timing.student_seconds, cfg.timing.train_seconds, cfg.timing.teacher_seconds)
    assert durations == (0.02, 0.3, 1.9)
    parts = StreamParts(cfg.dataset, tmp_path / "cache", [], lambda _: None)
    assert len(parts.sampled) == 20
    np.testing.assert_array_equal(parts.frames.read([3])[0], picture(3)[0])
    other = compose_config(["experiment=replay", "teacher=oracle", "timing=instant"], str(tmp_path / "a b" / "replay"))
    assert (other.teacher.name, other.dataset.name) == ("oracle", "recording")


def test_memory_of_places_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_REMEMBERED", 3)
    made = recorder(tmp_path)
    for number in range(6):
        made.frame(number / 10, number, picture(number)[0])
    for number in (2, 3, 5):
        made.label(number, picture(number)[1], 1.0)
    made.close()
    assert (made.num_labels, made.num_dropped) == (2, 1)
