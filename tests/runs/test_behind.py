"""Writes behind the loop: in order, bounded, none after a failed one, and every error reaches the loop."""

import errno
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock, Timeout

from odkd.data.labels.appended import AppendedFrames
from odkd.runs.behind import MAX_WAITING, Behind
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.run import OpenRun

FULL = OSError(errno.ENOSPC, "No space left on device")


def fail() -> None:
    raise FULL


def open_run(folder: Path) -> OpenRun:
    run = OpenRun(folder / "run", {"key": "k", "name": "n"}, checkpoint_overhead=1e9)
    return run.open({}, restart=False)


def record(run: OpenRun, iteration: int) -> None:
    run.record({"iteration": iteration, "metrics": {}}, {"iteration": iteration, "metrics": {}})


def test_jobs_are_done_in_the_order_in_which_they_are_given() -> None:
    behind, done = Behind(), list[int]()
    for number in range(50):
        behind.do(partial(done.append, number))
    behind.wait()
    assert done == list(range(50))
    behind.close()


def test_a_loop_waits_for_a_slow_disk_instead_of_filling_memory() -> None:
    behind, gate, most = Behind(), threading.Event(), MAX_WAITING
    for _ in range(most):
        behind.do(partial(gate.wait, 30))  # type: ignore[arg-type]
    one_more = threading.Thread(target=behind.do, args=[lambda: None])
    one_more.start()
    one_more.join(0.1)
    assert one_more.is_alive()
    gate.set()
    one_more.join(30)
    assert not one_more.is_alive()
    behind.close()


def test_nothing_is_written_after_a_write_that_failed_and_the_loop_sees_its_error() -> None:
    behind, done = Behind(), list[int]()
    behind.do(fail)

    def go_on() -> None:
        for number in range(2):
            behind.do(partial(done.append, number))
        behind.wait()

    with pytest.raises(OSError, match="No space left"):  # at one of the next calls, whichever is first
        go_on()
    assert done == []
    behind.close()
    behind.do(partial(done.append, 7))
    behind.wait()
    assert done == [7]
    behind.close()


def test_a_state_that_changes_after_its_commit_is_saved_as_it_was(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        gate, weights = threading.Event(), torch.zeros(3)
        run.behind.do(partial(gate.wait, 30))  # type: ignore[arg-type]
        record(run, 0)
        run.commit_behind({"weights": weights})
        weights += 1
        assert not run.is_checkpoint_due()  # this one is under way
        assert not run.has_checkpoint
        gate.set()
        assert len(run.records()) == 1
        assert run.is_checkpoint_due()
        resumed = run.resume()
        assert resumed is not None
        assert resumed["weights"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("last", ["records", "commit", "finish"])
def test_a_run_whose_checkpoint_fails_has_no_line_of_it_and_ends_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    ends: dict[str, Callable[[OpenRun], Any]] = {
        "records": OpenRun.records,
        "commit": lambda run: run.commit({}),
        "finish": lambda run: run.finish({}),
    }
    monkeypatch.setattr(Checkpoint, "write", lambda *_: fail())

    def loop(run: OpenRun) -> None:
        record(run, 0)
        run.commit_behind({})
        ends[last](run)

    with pytest.raises(OSError, match="No space left"), open_run(tmp_path) as run:
        loop(run)
    assert run.status == "failed"
    assert not (run.folder / "metrics.jsonl").exists()
    assert "No space left" in (run.folder / "error.txt").read_text()


def test_a_run_ended_by_an_error_is_unlocked_only_after_its_last_write(tmp_path: Path) -> None:
    was_locked: list[bool] = []

    def write_late(run: OpenRun) -> None:
        time.sleep(0.2)
        try:
            FileLock(run.folder / "run.lock", timeout=0).acquire()
        except Timeout:
            was_locked.append(True)

    def interrupted_loop(run: OpenRun) -> None:
        run.behind.do(partial(write_late, run))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_run(tmp_path) as run:
        interrupted_loop(run)
    assert was_locked == [True]
    FileLock(run.folder / "run.lock", timeout=0).acquire()


def test_no_checkpoint_is_ahead_of_the_predictions_before_it(
    odkd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    append, flush, write_checkpoint = AppendedFrames.append, AppendedFrames.flush, Checkpoint.write

    def write_predictions(self: AppendedFrames, rows: Any) -> None:
        order.append("predictions")
        append(self, rows)

    def flush_predictions(self: AppendedFrames) -> None:
        order.append("flushed")
        flush(self)

    def write(self: Checkpoint, *content: Any) -> None:
        order.append("checkpoint")
        write_checkpoint(self, *content)

    monkeypatch.setattr(AppendedFrames, "append", write_predictions)
    monkeypatch.setattr(AppendedFrames, "flush", flush_predictions)
    monkeypatch.setattr(Checkpoint, "write", write)
    run = odkd("run.checkpoint_overhead=1e9", "seed=77")
    num_iterations = len((run / "metrics.jsonl").read_text().splitlines())
    assert order.count("predictions") == num_iterations
    assert order[-1] == "checkpoint"
    assert [order[n - 1] for n, name in enumerate(order) if name == "checkpoint"] == ["flushed"] * order.count(
        "flushed"
    )
