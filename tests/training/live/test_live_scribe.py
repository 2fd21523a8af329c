"""What a live session writes, on a disk that is full for a while: nothing is lost, twice, or torn."""

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odkd.runs import checkpoint
from odkd.runs.lines import PublishedLines
from odkd.runs.run import OpenRun
from odkd.training.live import scribe as module
from odkd.training.live.scribe import Scribe

SECONDS = 30.0


def opened(folder: Path) -> OpenRun:
    run = OpenRun(folder, {"key": "k", "name": "n", "stage": "live"}, checkpoint_overhead=1.0)
    return run.open({}, restart=False)


def line(iteration: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"iteration": iteration, "metrics": {"test/miou": 0.5}}, {"iteration": iteration, "time": 0.0, "metrics": {}}


def written(folder: Path, name: str = "metrics") -> list[int]:
    path = folder / f"{name}.jsonl"
    try:
        return [json.loads(text)["iteration"] for text in path.read_text().splitlines()]
    except (FileNotFoundError, json.JSONDecodeError):  # not there, or torn
        return []


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(checkpoint, "RETRY_SECONDS", 0.1)


def test_lines_that_a_full_disk_refuses_are_written_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_full, refusals = [False], [0]
    whole = checkpoint.write_atomic

    def write(path: Path, *contents: Any, **settings: Any) -> None:
        if is_full[0]:
            refusals[0] += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, *contents, **settings)

    monkeypatch.setattr(checkpoint, "write_atomic", write)
    folder = tmp_path / "run"
    with opened(folder) as run:
        scribe = Scribe(run, lambda: {"iteration": 7})
        scribe.start()
        scribe.note(line(0))
        wait(lambda: written(folder) == [0])
        is_full[0] = True
        for number in (1, 2):
            scribe.note(line(number))
            before = refusals[0]
            wait(lambda before=before: refusals[0] > before)  # type: ignore[misc]
        assert written(folder) == [0]
        is_full[0] = False
        wait(lambda: written(folder) == [0, 1, 2])
        scribe.note(line(3))
        scribe.close()
        run.finish({}, keeps_checkpoint=True)
    assert written(folder) == written(folder, "timing") == [0, 1, 2, 3]
    assert caplog.text.count("the session goes on") == 1
    assert "No space left" in caplog.text
    with opened(folder) as run:
        assert run.resume() == {"iteration": 7}


def test_a_line_that_was_torn_by_a_full_disk_is_written_whole_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tears = [1]
    whole = PublishedLines.append

    def append(self: PublishedLines, records: list[Any]) -> list[Any]:
        if tears[0] and records:
            tears[0] -= 1
            with (folder / "metrics.jsonl").open("ab") as file:
                file.write(b'{"iteration": 0, "met')
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, records)

    folder = tmp_path / "run"
    with opened(folder) as run:
        monkeypatch.setattr(PublishedLines, "append", append)
        scribe = Scribe(run, lambda: {})
        scribe.start()
        scribe.note(line(0))
        wait(lambda: not tears[0])
        scribe.note(line(1))
        wait(lambda: written(folder) == [0, 1])
        scribe.close()
        run.finish({})
    assert written(folder) == written(folder, "timing") == [0, 1]


def test_a_disk_that_is_full_at_the_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = opened(tmp_path / "run")
    monkeypatch.setattr(checkpoint, "write_atomic", refuse)
    scribe = Scribe(run, lambda: {})
    scribe.start()
    scribe.note(line(0))
    with pytest.raises(OSError, match="No space left"), run:
        scribe.close()
    assert run.status == "failed"
