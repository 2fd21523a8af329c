"""Labelling: each frame is labelled once, despite parallel processes, kills, dead machines and full disks."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from odkd.data.labels import claims
from odkd.data.labels.claims import Claims, owner_of
from odkd.data.labels.damage import find_damage
from odkd.data.labels.store import LabelStore, SoftSpec
from odkd.data.labels.teacher_labels import TeacherLabels, TeacherName
from odkd.data.video.stream import Stream, open_stream
from odkd.teachers import SampledFrames, labeller
from odkd.teachers.labeller import Labeller, Span
from odkd.teachers.pipeline import DEPTH, overlap

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["odkd.teachers.labeller", "odkd.data.video.stream"])
BATCH = 4
MOST_LOST = labeller.FLUSH_FRAMES + (2 * DEPTH + 1) * BATCH  # frames not yet written, and frames in the pipeline


class CountingTeacher:
    """A slow teacher that labels by brightness and logs each frame with the process that labelled it."""

    num_classes = 8
    classes = None
    needs_images = True

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        self.log, self.seconds = log, seconds

    def label(self, frames: SampledFrames) -> np.ndarray:
        assert frames.images_BHWC is not None
        with self.log.open("a") as file:
            file.writelines(f"{os.getpid()} {frames.video} {number}\n" for number in frames.frame_numbers)
        time.sleep(self.seconds * len(frames.frame_numbers))
        return frames.images_BHWC[..., 0] // 32


def shown(log: Path) -> list[tuple[int, str]]:
    """Return (process, frame) for every frame that the teacher labelled, in order."""
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()] if log.is_file() else []
    return [(int(pid), frame) for pid, frame in lines]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", num_frames=230, height=32, width=48, group=50)
    write_video(folder / "b.mp4", num_frames=90, height=32, width=48, group=50)
    return folder


def open_videos(folder: Path) -> Stream:
    return open_stream(folder, stride=1, domains={}, cache=folder.parent / "cache")


def labels_of(videos: Path, folder: Path, soft: SoftSpec | None = None) -> TeacherLabels:
    stream = open_videos(videos)
    return TeacherLabels(stream, stream, TeacherName("counting", {"what": "brightness"}, None), folder, soft)


def label(videos: Path, folder: Path, log: Path, seconds: float = 0.0, span: Span | None = None) -> None:
    labels = labels_of(videos, folder)
    teacher = CountingTeacher(log, seconds)
    Labeller(labels, teacher, batch_size=BATCH, groundtruth=None, progress=lambda *_: None, span=span).run()


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    folder = tmp_path_factory.mktemp("undisturbed")
    label(videos, folder / "labels", folder / "log")
    labels = labels_of(videos, folder / "labels")
    assert not any(find_damage(LabelStore(store)) for store in labels.folders)
    return [labels.read(position) for position in range(len(labels.stream))]


def check(videos: Path, folder: Path, expected: list[np.ndarray]) -> None:
    labels = labels_of(videos, folder)
    for position, label_HW in enumerate(expected):
        np.testing.assert_array_equal(labels.read(position), label_HW)
    for store in labels.folders:
        assert not find_damage(LabelStore(store))
        assert list(store.glob("claims/*.json")) == []


def test_labels_equal_those_of_the_teacher_and_are_made_once(
    videos: Path, undisturbed: list[np.ndarray], tmp_path: Path
) -> None:
    from odkd.data.video.decode import decode_frames

    for _ in range(2):
        label(videos, tmp_path / "labels", tmp_path / "log")
    assert max(Counter(frame for _, frame in shown(tmp_path / "log")).values()) == 1
    check(videos, tmp_path / "labels", undisturbed)
    stream = open_videos(videos)
    for number, image_HWC in decode_frames(stream.videos[1], range(90)):
        assert image_HWC is not None
        np.testing.assert_array_equal(undisturbed[230 + number], image_HWC[..., 0] // 32)


def test_the_session_record_names_process_frames_and_duration(videos: Path, tmp_path: Path) -> None:
    label(videos, tmp_path / "labels", tmp_path / "log")
    (record,) = LabelStore(labels_of(videos, tmp_path / "labels").folders[0]).sessions()
    assert sorted(record["frames"]) == list(range(230))
    assert record["pid"] == os.getpid()
    assert record["seconds"] > 0
    assert {"odkd", "av"} <= set(record["versions"])  # and torch, where the teacher needs it


@pytest.mark.slow
def test_three_processes_share_the_work(videos: Path, undisturbed: list[np.ndarray], tmp_path: Path) -> None:
    arguments = (videos, tmp_path / "labels", tmp_path / "log", 0.01)
    workers = [processes.Process(target=label, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    seen = shown(tmp_path / "log")
    assert sorted(Counter(frame for _, frame in seen).values()) == [1] * 320
    assert len({pid for pid, _ in seen}) == 3
    check(videos, tmp_path / "labels", undisturbed)


@pytest.mark.slow
def test_each_span_begins_with_its_part_of_the_stream(
    videos: Path, undisturbed: list[np.ndarray], tmp_path: Path
) -> None:
    workers = [
        processes.Process(target=label, args=(videos, tmp_path / "labels", tmp_path / "log", 0.01, Span(n, 2)))
        for n in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    first = dict(reversed(shown(tmp_path / "log")))
    assert sorted(first.values()) == ["a 0", "a 128"]  # the second half begins in the shard of frame 160
    assert len(shown(tmp_path / "log")) == 320
    check(videos, tmp_path / "labels", undisturbed)


@pytest.mark.slow
def test_a_kill_loses_at_most_the_unwritten_batches(
    videos: Path, undisturbed: list[np.ndarray], tmp_path: Path
) -> None:
    num_kills = 4
    generator = random.Random(num_kills)
    num_killed = num_repeated = round_ = 0
    while num_killed < num_kills:
        folder = tmp_path / str(round_)
        folder.mkdir()
        round_ += 1
        arguments = (videos, folder / "labels", folder / "log", 0.01)

        def start(arguments: tuple[object, ...] = arguments) -> multiprocessing.process.BaseProcess:
            worker = processes.Process(target=label, args=arguments)
            worker.start()
            return worker

        workers, killed = [start() for _ in range(3)], set()
        while any(worker.is_alive() for worker in workers):
            time.sleep(generator.uniform(0.05, 0.5))
            number = generator.randrange(3)
            if workers[number].is_alive() and num_killed < num_kills:
                workers[number].kill()
                workers[number].join()
                if workers[number].exitcode == -signal.SIGKILL:
                    num_killed += 1
                    killed.add(workers[number].pid)
                workers[number] = start()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        check(videos, folder / "labels", undisturbed)
        makers: dict[str, list[int]] = {}
        for pid, frame in shown(folder / "log"):
            makers.setdefault(frame, []).append(pid)
        assert len(makers) == 320
        repeated = Counter(pid for pids in makers.values() for pid in pids[:-1])
        assert set(repeated) <= killed, "a frame was labelled twice although its process was not killed"
        assert max(repeated.values(), default=0) <= MOST_LOST
        num_repeated += sum(repeated.values())
    print(f"{num_killed} kills in {round_} rounds; {num_repeated} of {320 * round_} frames were labelled again")


def test_the_claim_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "shard.json"
    child = processes.Process(target=_claim_and_wait, args=(path,))
    child.start()
    while not path.is_file():
        time.sleep(0.01)
    with Claims() as ours:
        assert not ours.take(path)
        assert str(child.pid) in str(owner_of(path))
        child.kill()
        child.join()
        assert owner_of(path) is None
        assert ours.take(path)
        assert str(os.getpid()) in str(owner_of(path))
    assert not path.exists()


def test_claims_of_killed_processes_are_gone_when_nothing_is_missing(videos: Path, tmp_path: Path) -> None:
    label(videos, tmp_path / "labels", tmp_path / "log")
    path = labels_of(videos, tmp_path / "labels").folders[0] / "claims" / "shard-000001.json"
    child = processes.Process(target=_claim_and_wait, args=(path,))
    child.start()
    while owner_of(path) is None:
        time.sleep(0.01)
    label(videos, tmp_path / "labels", tmp_path / "log")
    assert path.exists()  # its process lives
    child.kill()
    child.join()
    label(videos, tmp_path / "labels", tmp_path / "log")
    assert not path.exists()


def _claim_and_wait(path: Path) -> None:
    with Claims() as theirs:
        theirs.take(path)
        time.sleep(60)


def test_the_claim_of_another_machine_is_valid_as_long_as_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "boot": "x", "namespace": "y", "token": "t"}))
    with Claims() as ours:
        assert not ours.take(path)
        assert owner_of(path) == f"elsewhere, process {os.getpid()}"
        past = time.time() - claims.STALE_SECONDS - 5
        os.utime(path, (past, past))
        assert owner_of(path) is None
        assert ours.take(path)


def test_a_claim_that_was_taken_over_is_not_released_by_its_first_owner(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    with Claims() as first:
        first.take(path)
        path.unlink()
        with Claims() as second:
            assert second.take(path)
            first.release(path)
            assert path.is_file()


def test_claims_are_touched_while_they_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "TOUCH_SECONDS", 0.05)
    path = tmp_path / "shard.json"
    with Claims() as ours:
        ours.take(path)
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_claim_without_valid_json_expires_when_it_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    path.write_bytes(b"\x00garbage")
    assert owner_of(path) is not None
    os.utime(path, (0, 0))
    with Claims() as ours:
        assert ours.take(path)


def test_pipeline_steps_overlap_and_hold_few_items() -> None:
    begun = {(step, item): threading.Event() for step in ("source", "work") for item in range(22)}
    held, most, done = 0, 0, []

    def source() -> Generator[int]:
        nonlocal held, most
        for item in range(20):
            begun["source", item].set()
            held += 1
            most = max(most, held)
            yield item

    def work(item: int) -> int:
        begun["work", item].set()
        assert item == 19 or begun["source", item + 1].wait(20), "nothing was read while the teacher worked"
        return item * 2

    def sink(item: int) -> None:
        nonlocal held
        assert item == 38 or begun["work", item // 2 + 1].wait(20), "the teacher waited for the store"
        held -= 1
        done.append(item)

    overlap(source(), work, sink)
    assert done == list(range(0, 40, 2))
    assert most <= 2 * DEPTH + 2


@pytest.mark.parametrize("failing", ["source", "work", "sink"])
def test_a_failing_pipeline_step_ends_all_steps_and_its_error_is_raised(failing: str) -> None:
    closed, done = [], []

    def fail_at_five(step: str, item: int) -> int:
        if step == failing and item == 5:
            raise OSError(f"{step} failed")
        return item

    def source() -> Generator[int]:
        try:
            for item in range(1000):
                yield fail_at_five("source", item)
        finally:
            closed.append(threading.current_thread().name)

    with pytest.raises(OSError, match=f"{failing} failed"):
        overlap(source(), lambda item: fail_at_five("work", item), lambda item: done.append(fail_at_five("sink", item)))
    assert len(closed) == 1
    assert closed[0].startswith("odkd-decode")
    assert done[:5] == [0, 1, 2, 3, 4]


def test_labels_made_before_a_teacher_fails_are_kept(videos: Path, tmp_path: Path) -> None:
    class Failing(CountingTeacher):
        def label(self, frames: SampledFrames) -> np.ndarray:
            if 40 in frames.frame_numbers:
                raise ValueError("no more")
            return super().label(frames)

    labels = labels_of(videos, tmp_path / "labels")
    teacher = Failing(tmp_path / "log")
    with pytest.raises(ValueError, match="no more"):
        Labeller(labels, teacher, batch_size=BATCH, groundtruth=None, progress=lambda *_: None).run()
    assert labels.missing() == list(range(40, 320))
    assert not list(labels.folders[0].glob("claims/*.json"))


def test_label_maps_with_invalid_ids_are_refused(videos: Path, tmp_path: Path) -> None:
    class Wrong(CountingTeacher):
        def label(self, frames: SampledFrames) -> np.ndarray:
            return super().label(frames) + 2

    labels = labels_of(videos, tmp_path / "labels")
    with pytest.raises(ValueError, match=r"ids up to 9; expected .* below 8"):
        Labeller(labels, Wrong(tmp_path / "log"), batch_size=BATCH, groundtruth=None, progress=lambda *_: None).run()


FULL_DISK = """
set -e
mkdir -p disk; mount -t tmpfs -o size=300k tmpfs disk
head -c 280k /dev/zero > disk/filler
status=0; {odkd} || status=$?
echo "first $status"
{tool} verify disk/labels || true
rm disk/filler
{odkd}
{tool} verify disk/labels
"""


@pytest.mark.slow
def test_a_full_disk_is_one_message_and_labelling_continues_when_there_is_space(tmp_path: Path) -> None:
    inside = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*inside, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode != 0:
        pytest.skip("this system does not allow mounting a small disk")
    python = f"{sys.executable} -m"
    command = (
        f"{python} odkd debug=smoke stage=label tracking=none paths.labels=disk/labels dataset.prepare.num_periods=6"
    )
    script = FULL_DISK.format(odkd=command, tool=f"{python} odkd.commands.labels")
    result = subprocess.run([*inside, "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=250)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert "the disk is full" in output
    assert "first 2" in output
    assert "Traceback" not in output
    _, _, after = output.partition("first 2")
    assert not re.search(r"(is|are) damaged(:|$)", after, re.MULTILINE)
    assert "frames missing" in after
    assert after.count(": complete") == 6


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_processes_of_torchrun_share_one_label_stage(tmp_path: Path) -> None:
    (tmp_path / "my_teacher.py").write_text(
        "import os, time, numpy as np\n"
        "class Slow:\n"
        "    num_classes, classes, needs_images = 11, None, True\n"
        "    def label(self, frames):\n"
        "        with open('log', 'a') as file:\n"
        "            file.writelines(f'{os.getpid()} {frames.video} {n}\\n' for n in frames.frame_numbers)\n"
        "        time.sleep(0.3)\n"
        "        return frames.images_BHWC[..., 0] // 32\n"
    )
    (tmp_path / "conf" / "teacher").mkdir(parents=True)
    (tmp_path / "conf" / "teacher" / "slow.yaml").write_text("_target_: my_teacher.Slow\nname: slow\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "odkd"]
    settings = ["--config-dir", "conf", "debug=smoke", "stage=label", "tracking=none", "teacher=slow"]
    settings += ["allow_targets=[my_teacher]", "dataset.prepare.num_periods=4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *settings], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = shown(tmp_path / "log")
    assert sorted(Counter(frame for _, frame in seen).values()) == [1] * 80
    assert len({pid for pid, _ in seen}) == 2
    assert "80 frames labelled" in done.stdout
