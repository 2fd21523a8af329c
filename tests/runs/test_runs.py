"""The writer of run folders: published lines, locks, statuses."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from odkd.common.temporary import temporary_for
from odkd.runs.outcome import Terminated
from odkd.runs.run import OpenRun, RunIsBusyError, RunIsFinishedError

DESCRIPTION = {"key": "k", "name": "n", "stage": "online", "params": {}, "tags": {}}


def make(folder: Path) -> OpenRun:
    return OpenRun(folder / "run", DESCRIPTION, checkpoint_overhead=0.01)


def record(run: OpenRun, iteration: int, value: float = 0.5) -> None:
    run.record({"iteration": iteration, "metrics": {"test/miou": value}}, {"iteration": iteration, "metrics": {}})


def state(iteration: int) -> dict[str, Any]:
    return {"iteration": iteration, "weights": torch.full((3,), float(iteration))}


def test_lines_are_published_only_after_the_checkpoint_that_contains_them(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False) as run:
        record(run, 0)
        record(run, 1, float("nan"))
        assert run.records() == []
        run.commit(state(1))
        assert [line["metrics"]["test/miou"] for line in run.records()] == [0.5, None]


def test_lines_that_a_killed_process_saved_but_did_not_publish_are_published_once(tmp_path: Path) -> None:
    first = make(tmp_path).open({}, restart=False)
    record(first, 0)
    first.commit(state(0))
    record(first, 1)
    record(first, 2)
    first.commit(state(2))
    lines = (first.folder / "metrics.jsonl").read_text()
    # as left by a kill between checkpoint and publication, with an incomplete line
    (first.folder / "metrics.jsonl").write_text(lines[: lines.index("\n") + 20])
    first._lock.release()
    with make(tmp_path).open({}, restart=False) as second:
        resumed = second.resume()
        assert resumed is not None
        assert resumed["iteration"] == 2
        assert resumed["weights"].tolist() == [2, 2, 2]
        assert (second.folder / "metrics.jsonl").read_text() == lines
        timing = (second.folder / "timing.jsonl").read_text().splitlines()
        assert [json.loads(line)["iteration"] for line in timing] == [0, 1, 2]


def test_two_processes_cannot_run_the_same_run(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False), pytest.raises(RunIsBusyError, match="another process"):
        make(tmp_path).open({}, restart=False)
    make(tmp_path).open({}, restart=False)._lock.release()


def test_a_lock_held_for_a_moment_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / "run.lock", thread_local=False) as lock:
        timer = threading.Timer(0.3, lock.release)
        timer.start()
        make(tmp_path).open({}, restart=False)._lock.release()
        timer.join()


def test_a_folder_is_identified_by_the_complete_key(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False) as run:
        run.finish({})
    other = OpenRun(run.folder, DESCRIPTION | {"key": "kk"}, checkpoint_overhead=0.01)
    for _ in range(2):  # twice: the lock must be free again
        with pytest.raises(ValueError, match=r"another run.*set run.name="):
            other.open({}, restart=True)
    assert make(tmp_path).status == "finished"


def test_a_run_that_another_process_finished_in_the_meantime_does_not_change(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False) as run:
        run.finish({})
    before = (run.folder / "run.json").read_text()
    for _ in range(2):  # twice: the lock must be free again
        with pytest.raises(RunIsFinishedError):
            make(tmp_path).open({}, restart=False, again=False)
    assert (run.folder / "run.json").read_text() == before


@pytest.mark.slow
def test_a_run_that_finishes_before_its_lock_is_taken_is_not_computed_again(
    odkd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = odkd()
    before = {name: (run / name).stat().st_mtime_ns for name in ("run.json", "metrics.jsonl", "summary.json")}
    answers, status = iter(["killed"]), OpenRun.status.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(OpenRun, "status", property(lambda self: next(answers, None) or status(self)))
    assert odkd() == run
    assert {name: (run / name).stat().st_mtime_ns for name in before} == before
    assert next(answers, None) is None


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False) as run:
        record(run, 0)
        run.commit(state(0))
    (run.folder / "students").mkdir()
    left = [run.folder / ".checkpoint.pt.0123.tmp", run.folder / "students" / ".x.pt.0123.tmp"]
    foreign = temporary_for(run.folder / "mlflow.json")  # of a process that runs
    for path in (*left, foreign):
        path.write_bytes(b"half")
    make(tmp_path).open({}, restart=False)._lock.release()
    assert not any(path.exists() for path in left)
    assert foreign.exists()
    assert run.has_checkpoint


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad"), "failed"),
        (KeyboardInterrupt(), "killed"),
        (Terminated(), "killed"),
        (SystemExit(0), "failed"),
    ],
)
def test_a_run_ended_by_an_error_has_status_and_traceback(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), make(tmp_path).open({}, restart=False) as run:
        raise error
    assert run.status == status
    assert type(error).__name__ in (run.folder / "error.txt").read_text()


def test_a_run_interrupted_when_it_begins_is_killed_and_its_lock_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from odkd.runs.run_file import RunFile

    set_status = RunFile.set_status

    def interrupted(self: RunFile, status: str, *rest: Any) -> None:
        set_status(self, status, *rest)
        if status == "running":
            raise KeyboardInterrupt

    run = OpenRun(
        tmp_path / "run", {"key": "k", "name": "run", "stage": "s", "params": {}, "tags": {}}, checkpoint_overhead=1
    )
    monkeypatch.setattr(RunFile, "set_status", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.open({}, restart=False)
    assert run.status == "killed"
    monkeypatch.undo()
    with run.open({}, restart=False):
        assert run.status == "running"


def test_a_finished_run_has_its_summary_and_no_checkpoint(tmp_path: Path) -> None:
    assert make(tmp_path).status is None
    with make(tmp_path).open({"config.yaml": "a: 1\n"}, restart=False) as run:
        record(run, 0)
        run.commit(state(0))
        run.finish({"total/miou": 0.25, "total/iou/car": float("nan")})
    assert make(tmp_path).status == "finished"
    assert run.summary() == {"total/miou": 0.25, "total/iou/car": None}
    assert (run.folder / "config.yaml").read_text() == "a: 1\n"
    assert not (run.folder / "checkpoint.pt").exists()


def test_restart_empties_the_folder_and_begins_a_new_run(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False) as run:
        record(run, 0)
        run.commit(state(0))
    created = json.loads((run.folder / "run.json").read_text())["created"]
    with make(tmp_path).open({}, restart=True) as run:
        assert run.resume() is None
        assert run.records() == []
    assert json.loads((run.folder / "run.json").read_text())["created"] != created
