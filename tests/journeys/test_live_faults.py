"""Live sessions whose disk is full for a while, or whose source is: real processes, as a user runs them."""

import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from live_sessions import PLAIN, Session, is_alive, lines
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
TEACHER = """
import numpy as np


class Bright:
    num_classes, classes, needs_images = 2, ["dark", "bright"], True

    def label(self, frames):
        return (frames.images_BHWC[..., 1] > 128).astype(np.uint8)
"""


def limit_files(pid: int, num_bytes: int) -> None:
    """Have the system refuse a process all bytes of a file behind these, as a full disk does."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))


def test_a_disk_that_is_full_for_a_while_costs_nothing(sessions: Callable[..., Session], tmp_path: Path) -> None:
    session = sessions("stage.repeats=20", "run.checkpoint_overhead=1e9")
    session.wait(lambda text: "step 1 " in text)
    children = session.children()
    for pid in (session.process.pid, children["trainer"]):
        limit_files(pid, 100_000)
    session.wait(lambda text: "cannot write the run" in text)
    steps = session.text.count("step ")
    session.wait(lambda text: text.count("step ") > steps + 2)  # it goes on
    assert session.text.count("cannot write the run") == 1
    for pid in (session.process.pid, children["trainer"]):
        limit_files(pid, resource.RLIM_INFINITY)
    session.wait(lambda text: "the run is written again" in text)
    session.process.send_signal(signal.SIGTERM)
    assert session.end() == 0, session.text
    assert not any(map(is_alive, children.values()))
    assert [line["iteration"] for line in lines(tmp_path)] == list(range(session.text.count("step ")))
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert (run / "student.safetensors").is_file()


def test_a_disk_that_stays_full_ends_in_one_line(sessions: Callable[..., Session]) -> None:
    session = sessions("stage.repeats=20", "run.checkpoint_overhead=1e9")
    session.wait(lambda text: "step 1 " in text)
    children = session.children()
    limit_files(session.process.pid, 100_000)
    session.wait(lambda text: "cannot write the run" in text)
    session.process.send_signal(signal.SIGINT)
    assert session.end() not in (0, -signal.SIGINT), session.text
    assert "Traceback" not in session.text
    assert "File too large" in session.text.splitlines()[-1]
    assert not any(map(is_alive, children.values()))


def test_a_source_that_stops_for_a_while_is_followed_again(sessions: Callable[..., Session], tmp_path: Path) -> None:
    (tmp_path / "my_teacher.py").write_text(TEACHER)
    (tmp_path / "conf" / "teacher").mkdir(parents=True)
    own = "defaults: [parts/common@_here_, _self_]\n_target_: my_teacher.Bright\nname: bright\n"
    (tmp_path / "conf" / "teacher" / "bright.yaml").write_text(own)
    frames = tmp_path / "frames"
    frames.mkdir()

    def write(number: int) -> None:
        picture = np.zeros((32, 48, 3), np.uint8)
        picture[:, (number % 40) :] = 255
        Image.fromarray(picture).save(tmp_path / "coming.png")
        (tmp_path / "coming.png").rename(frames / f"{number:06d}.png")

    camera = ["stage.source=frames", "dataset=camera", "dataset.size=[32,48]", "dataset.classes=[dark,bright]"]
    camera += ["dataset.stride=2", "teacher=bright", "allow_targets=[my_teacher]", "stage.patience=30"]
    write(0)
    session = sessions(*camera, before=["--config-dir", "conf"], base=PLAIN)
    numbers = iter(range(1, 10**6))

    def play(condition: Callable[[str], bool]) -> None:
        end = time.monotonic() + 150
        while not condition(session.text):
            assert time.monotonic() < end, session.text
            assert session.process.poll() is None, session.text
            write(next(numbers))
            time.sleep(0.1)

    play(lambda text: "step 1 " in text)
    time.sleep(20)  # shorter than its patience
    assert session.process.poll() is None, session.text
    steps = session.text.count("step ")
    play(lambda text: text.count("step ") > steps + 1)
    assert session.end() == 0, session.text
    assert "no image has come into frames for 30 s" in session.text
    assert "the session ends: the source has ended" in session.text
    assert [line["iteration"] for line in lines(tmp_path)] == list(range(session.text.count("step ")))
