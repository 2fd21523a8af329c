"""A run on disk: published lines, locks, statuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from odkd.outcome import Terminated
from odkd.runs import Run, RunIsBusyError

DESCRIPTION = {"key": "k", "name": "n", "stage": "online", "params": {}, "tags": {}}


def make(folder: Path) -> Run:
    return Run(folder / "run", DESCRIPTION, checkpoint_overhead=0.01)


def record(run: Run, iteration: int, value: float = 0.5) -> None:
    run.record({"iteration": iteration, "metrics": {"test/miou": value}}, {"iteration": iteration, "metrics": {}})


def state(iteration: int) -> dict[str, Any]:
    return {"iteration": iteration, "weights": torch.full((3,), float(iteration))}


def test_lines_are_published_only_with_the_checkpoint_that_contains_them(tmp_path: Path) -> None:
    with make(tmp_path).open({}, restart=False) as run:
        record(run, 0)
        record(run, 1, float("nan"))
        assert run.records() == []
        run.commit(state(1))
        assert [line["metrics"]["test/miou"] for line in run.records()] == [0.5, None]


def test_what_a_killed_process_had_saved_but_not_published_is_published_once(tmp_path: Path) -> None:
    first = make(tmp_path).open({}, restart=False)
    record(first, 0)
    first.commit(state(0))
    record(first, 1)
    record(first, 2)
    first.commit(state(2))
    lines = (first.folder / "metrics.jsonl").read_text()
    # As a kill between checkpoint and publication would leave it, with a torn line:
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


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad"), "failed"),
        (KeyboardInterrupt(), "killed"),
        (Terminated(), "killed"),
        (SystemExit(0), "failed"),
    ],
)
def test_a_run_that_ends_by_an_error_says_so(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), make(tmp_path).open({}, restart=False) as run:
        raise error
    assert run.status == status
    assert type(error).__name__ in (run.folder / "error.txt").read_text()


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
