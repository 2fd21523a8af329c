"""A child process of a live session: it is heard, started again when it dies, and gone at the end."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from live_children import echo, fail, hang

from odkd.training.live import worker as module
from odkd.training.live.worker import Worker

SECONDS = 60.0  # for which a test waits for a process at most


class Watched:
    """A worker, and what it says."""

    def __init__(self, target: Callable[[Any, Any], None]) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.deaths = 0
        self.worker = Worker("helper", target, "job", heard=self.heard.append, died=self._died)
        self.worker.start()

    def _died(self) -> None:
        assert not self.worker.send("nobody hears this")
        self.deaths += 1

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, (self.heard, self.worker.state)
            time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(module, "END_SECONDS", 30.0)


def test_a_child_that_dies_is_started_again_and_the_wait_doubles() -> None:
    watched = Watched(echo)
    pids = []
    for number in range(2):
        watched.wait(lambda: watched.worker.is_ready)
        pids.append(watched.worker.pid)
        assert watched.worker.send("hello", number)
        watched.wait(lambda said=("echo", "job", "hello", number): said in watched.heard)  # type: ignore[misc]
        watched.worker.send("die")
        watched.wait(lambda deaths=number + 1: watched.deaths == deaths)  # type: ignore[misc]
        assert "SIGKILL" in watched.worker.state
    watched.wait(lambda: watched.worker.is_ready)
    assert watched.worker.state == "running"
    assert watched.worker.num_restarts == 2
    assert watched.worker._wait == pytest.approx(4 * 0.05)
    pids.append(watched.worker.pid)
    watched.worker.stop(gently=True)
    assert watched.heard[-1] == ("echo", "job", "bye")
    assert len(set(pids)) == 3
    assert not any(is_alive(pid) for pid in pids if pid is not None)
    assert not watched.worker.send("hello")


def test_a_mistake_of_the_user_is_kept_and_not_tried_again() -> None:
    watched = Watched(fail)
    watched.wait(lambda: watched.worker.mistake is not None)
    assert str(watched.worker.mistake) == "the moon is missing"
    watched.worker.stop(gently=True)
    assert watched.deaths == watched.worker.num_restarts == 0


def test_a_fault_of_who_hears_a_child_is_kept_for_the_session_to_raise() -> None:
    def heard(message: tuple[Any, ...]) -> None:
        if message[0] == "echo":
            raise KeyError("of a pace")

    worker = Worker("helper", echo, "job", heard=heard, died=lambda: None)
    worker.start()
    end = time.monotonic() + SECONDS
    while worker.mistake is None:
        assert time.monotonic() < end
        worker.send("hello")
        time.sleep(0.01)
    assert isinstance(worker.mistake, KeyError)
    worker.stop(gently=True)


def test_a_child_that_hangs_is_killed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(hang)
    watched.wait(lambda: watched.worker.is_ready)
    monkeypatch.setattr(module, "END_SECONDS", 0.2)
    pid = watched.worker.pid
    assert pid is not None
    watched.worker.stop(gently=True)
    watched.wait(lambda: not is_alive(pid))
