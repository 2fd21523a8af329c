"""A tracker that is dead, slow or broken neither stops nor slows a run, nor the other trackers."""

import threading
import time
from pathlib import Path

import pytest
from fabricated_run import FabricatedRun

from odkd.runs.sync import Follower, Followers, Tracking


class Good:
    """Counts what it was sent."""

    place = "a good place"

    def __init__(self) -> None:
        self.passes: list[bool] = []

    def sync(self, _: Path, *, is_last: bool, **__: object) -> int:
        self.passes.append(is_last)
        return 0

    def is_complete(self, _: Path) -> bool:
        return True in self.passes

    def forget(self, _: Path) -> None:
        pass


class Bad(Good):
    """Ends the process, as a library might that finds no account."""

    place = "a bad place"
    advice = "Ask its maker."

    def sync(self, *_: object, **__: object) -> int:
        raise SystemExit("no account")

    def forget(self, _: Path) -> None:
        raise SystemExit


class Silent(Good):
    """Never answers."""

    place = "a silent place"

    def sync(self, *_: object, **__: object) -> int:
        threading.Event().wait()
        return 0


@pytest.fixture
def run(tmp_path: Path) -> FabricatedRun:
    return FabricatedRun(tmp_path / "outputs")


def test_a_broken_and_a_silent_tracker_hold_up_nothing(run: FabricatedRun, caplog: pytest.LogCaptureFixture) -> None:
    good = Good()
    followers = Followers([Follower(run.folder, tracker, seconds=60) for tracker in (Silent(), Bad(), good)])
    followers.start()
    run.publish(2)
    run.end()
    began = time.monotonic()
    assert not followers.close(1.0)
    assert time.monotonic() - began < 10, "together, not one after the other"
    assert good.passes[-1] is True
    told = [record.getMessage() for record in caplog.records]
    assert (
        "a silent place has not received everything: no answer in 1 s. Nothing is lost: send it with  odkd-sync"
        in (told[-2])
    )
    assert told[-1].startswith("a bad place has not received everything: no account.")
    assert told[-1].endswith("\nAsk its maker.")


def test_each_run_gets_trackers_of_its_own_and_a_complete_one_is_not_asked(run: FabricatedRun) -> None:
    made: list[Good] = []

    def make() -> dict[str, Good]:
        made.append(Good())
        return {"good": made[-1]}

    tracking = Tracking(make)
    assert tracking.follow(run.folder).close(10)
    assert tracking.follow(run.folder).close(10)
    assert len({id(tracker) for tracker in made if tracker.passes}) == 2
    shared = Good()
    tracking = Tracking(lambda: {"good": shared})
    assert tracking.send(run.folder)
    assert tracking.send(run.folder)
    assert shared.passes.count(True) == 1


def test_a_failed_job_is_forgotten_although_a_tracker_is_broken(
    run: FabricatedRun, caplog: pytest.LogCaptureFixture
) -> None:
    Tracking(lambda: {"bad": Bad()}).forget(run.folder)
    assert not run.folder.exists()
    assert "a bad place: " in caplog.text


def test_no_tracker_does_nothing(run: FabricatedRun) -> None:
    tracking = Tracking()
    assert tracking.follow(run.folder).close(0.0)
    assert tracking.send(run.folder)
    assert not (run.folder / "trackers.json").exists()
