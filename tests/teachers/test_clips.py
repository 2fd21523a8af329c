"""Teachers with state over frames: labels are the same however labelling was interrupted, divided or repaired."""

import hashlib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import one_of
from video_files import decode_naively, write_video

from odkd.data.labels.store import LabelStore
from odkd.data.labels.teacher_labels import TeacherLabels, TeacherName
from odkd.data.video.stream import open_stream
from odkd.teachers import SampledFrames, clip_frames_of
from odkd.teachers.clips import clip_batches
from odkd.teachers.labeller import Labeller, Span

NUM_FRAMES, CLASSES = 150, 8


class Remembers:
    """A teacher whose label is a digest of all images since its clip began."""

    num_classes, classes, needs_images = CLASSES, None, True

    def __init__(self, clip_frames: int, fails_after: int | None = None) -> None:
        self.clip_frames, self.left = clip_frames, fails_after
        self.state = b"never shown a first frame"
        self.seen: list[tuple[bool, list[int]]] = []

    def label(self, frames: SampledFrames) -> np.ndarray:
        assert frames.images_BHWC is not None
        self.seen.append((frames.begins_clip, list(frames.sample_numbers)))
        if frames.begins_clip:
            self.state = b""
        labels = []
        for image_HWC in frames.images_BHWC:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise RuntimeError("killed")
            self.state = hashlib.sha256(self.state + image_HWC.tobytes()).digest()
            labels.append(np.full(image_HWC.shape[:2], self.state[0] % CLASSES, np.uint8))
        return np.stack(labels)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "videos"
    folder.mkdir()
    write_video(folder / "a.mp4", num_frames=NUM_FRAMES, height=16, width=24, group=40)
    write_video(folder / "b.mp4", num_frames=30, height=16, width=24, group=40)
    return folder


def labels_of(videos: Path, folder: Path, stride: int = 1) -> TeacherLabels:
    stream = open_stream(videos, stride=stride, domains={}, cache=videos.parent / "cache")
    return TeacherLabels(stream, stream, TeacherName("remembers", {"stride": stride}, None), folder)


def label(labels: TeacherLabels, teacher: Remembers, *, batch_size: int = 4, **more: Any) -> None:
    Labeller(labels, teacher, batch_size=batch_size, groundtruth=None, progress=lambda *_: None, **more).run()


def read(labels: TeacherLabels) -> list[int]:
    return [int(labels.read(position)[0, 0]) for position in range(len(labels.stream))]


def expected(videos: Path, clip_frames: int, stride: int = 1) -> list[int]:
    """Return the class of each sampled frame, by a plain loop over the decoded videos."""
    found = []
    for path in sorted(videos.glob("*.mp4")):
        images = list(decode_naively(path).values())
        for number, image_HWC in enumerate(images[::stride][: len(images) // stride]):
            state = b"" if number % clip_frames == 0 else state  # noqa: F821  # of the frame before
            state = hashlib.sha256(state + image_HWC.tobytes()).digest()
            found.append(state[0] % CLASSES)
    return found


@pytest.mark.parametrize("clip_frames", [100, *one_of(3, [5, 64, 1000])])
def test_labels_depend_on_the_frames_of_the_clip_alone(clip_frames: int, videos: Path, tmp_path: Path) -> None:
    truth = expected(videos, clip_frames)
    for number, batch_size in enumerate((1, 4, 7)):
        labels = labels_of(videos, tmp_path / str(number))
        label(labels, Remembers(clip_frames), batch_size=batch_size)
        assert read(labels) == truth


def test_only_sampled_frames_are_seen(videos: Path, tmp_path: Path) -> None:
    labels = labels_of(videos, tmp_path, stride=3)
    label(labels, Remembers(20))
    assert read(labels) == expected(videos, 20, stride=3)


@pytest.mark.parametrize(("clip_frames", "fails_after"), one_of(5, list(product([5, 64, 100], [2, 37, 66, 110, 151]))))
def test_a_killed_labelling_goes_on_with_the_same_labels(
    clip_frames: int, fails_after: int, videos: Path, tmp_path: Path
) -> None:
    labels = labels_of(videos, tmp_path)
    whole = Remembers(clip_frames)
    label(labels_of(videos, tmp_path / "whole"), whole)
    with pytest.raises(RuntimeError, match="killed"):
        label(labels, Remembers(clip_frames, fails_after))
    num_stored = len(labels.stream) - len(labels.missing())
    teacher = Remembers(clip_frames)
    label(labels, teacher)
    assert read(labels) == expected(videos, clip_frames)
    assert all(batch in whole.seen for batch in teacher.seen)  # the same batches: they round alike
    repeated = sum(len(rows) for _, rows in teacher.seen) - (len(labels.stream) - num_stored)
    assert 0 <= repeated < clip_frames + 4


@pytest.mark.parametrize("clip_frames", [16, 100])
def test_a_process_that_begins_in_the_middle_makes_the_same_labels(
    clip_frames: int, videos: Path, tmp_path: Path
) -> None:
    labels = labels_of(videos, tmp_path)
    teacher = Remembers(clip_frames)
    label(labels, teacher, span=Span(1, 2))
    assert teacher.seen[0][1][0] in (64 // clip_frames * clip_frames, 0)  # the middle is in the second shard
    assert read(labels) == expected(videos, clip_frames)


def test_labels_that_were_lost_come_back_as_they_were(videos: Path, tmp_path: Path) -> None:
    labels = labels_of(videos, tmp_path)
    label(labels, Remembers(100))
    store = LabelStore(labels.folders[0])
    shards = sorted(path for path in (store.folder / "labels" / "c").rglob("0") if path.is_file())
    before = [path.read_bytes() for path in shards]
    shards[1].unlink()
    again, teacher = labels_of(videos, tmp_path), Remembers(100)
    assert len(again.missing()) == 64
    label(again, teacher, only=store.folder)
    assert [path.read_bytes() for path in shards] == before
    assert teacher.seen[0] == (True, [0, 1, 2, 3])  # what leads up to the shard is seen once more


def test_damaged_frames_are_left_out_of_clips() -> None:
    rows = [row for row in range(12) if row not in (0, 6, 7)]
    batches = clip_batches(rows, clip_frames=6, batch_size=4, shard_frames=64)
    assert [(batch.rows, batch.begins_clip) for batch in batches] == [
        ([1, 2, 3, 4], True),
        ([5], False),
        ([8, 9, 10, 11], True),
    ]


@pytest.mark.parametrize("wrong", [-1, 1.5, "all", True])
def test_a_length_that_is_no_number_of_frames_is_refused(wrong: Any) -> None:
    teacher = Remembers(wrong)
    with pytest.raises(ValueError, match=r"clip_frames=.*whole number of frames"):
        clip_frames_of(teacher)
