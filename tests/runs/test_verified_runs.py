"""What a run reads back is verified: its checkpoint, its lines, and the files of a finished run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from odkd.config.segmenter import load_student
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.lines import PublishedLines
from odkd.runs.results import read_run
from odkd.runs.run import OpenRun

DESCRIPTION = {"key": "k", "name": "n", "stage": "online", "params": {}, "tags": {}}


def make(folder: Path) -> OpenRun:
    return OpenRun(folder, DESCRIPTION, checkpoint_overhead=0.01)


def line(iteration: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"iteration": iteration, "metrics": {"test/miou": 0.1 * iteration}}, {
        "iteration": iteration,
        "time": 1.0,
        "metrics": {},
    }


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run that was killed after five iterations, two checkpoints, and half of its publishing."""
    run = make(tmp_path / "run").open({}, restart=False)
    for iteration in range(5):
        run.record(*line(iteration))
        if iteration in (2, 4):
            run.commit({"iteration": iteration})
    run._lock.release()
    return run.folder


def resume(folder: Path) -> list[dict[str, Any]]:
    with make(folder).open({}, restart=False) as run:
        assert run.resume() == {"iteration": 4}
        run.record(*line(5))
        run.commit({"iteration": 5})
        run.finish({})
        return run.records()


def test_every_flipped_bit_and_every_cut_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", overhead=0.01)
    content = checkpoint.packed({"weights": torch.ones(3), "names": ["a"]})
    checkpoint.write(content, {"metrics": [1, "x"]})
    assert checkpoint.load() is not None
    assert checkpoint.note == {"metrics": [1, "x"]}
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        for damaged in (changed, whole[:place]) if place % 7 == 0 else (changed,):
            (tmp_path / "checkpoint.pt").write_bytes(damaged)
            with pytest.raises(ValueError, match=r"checkpoint.pt is damaged \(.+\); run.restart=true starts this run"):
                checkpoint.load()


def test_a_checkpoint_of_an_earlier_release_is_loaded(unfinished: Path) -> None:
    records = [dict(zip(("metrics", "timing"), line(n), strict=True)) for n in (3, 4)]
    torch.save({"state": {"iteration": 4}, "records": records}, unfinished / "checkpoint.pt")
    assert [record["iteration"] for record in resume(unfinished)] == list(range(6))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "0 of 3 lines"),
        ([0, 1], "2 of 3 lines"),
        ([1, 2, 3, 4], "another content"),
        ([0, 1, 2.5, 3, 4], "another content"),
        ([0, 1, 2, 3.5, 4], "another line for iteration 3"),
        ([0, 1, 2, 4], "another line for iteration 3"),
        ([0, 1, 2, 3, 4, 9], "another line for iteration 5"),
        ([0, 1, 2, 2, 3, 4], "the order of lines"),
        ([0, "garbage", 2, 3, 4], "line 2"),
    ],
)
def test_lines_that_were_lost_or_changed_end_the_resumed_run_with_a_message(
    unfinished: Path, lines: list[Any], said: str
) -> None:
    path = unfinished / "metrics.jsonl"
    records = [line(int(n))[0] | {"metrics": {"test/miou": 0.1 * n}} if not isinstance(n, str) else n for n in lines]
    path.write_text("".join(record if isinstance(record, str) else json.dumps(record) + "\n" for record in records))
    if "garbage" in lines:
        path.write_text(path.read_text().replace("garbage", "garbage\n"))
    with pytest.raises(ValueError, match=rf"metrics.jsonl is damaged \({said}.*\); restore it .*run.restart=true"):
        resume(unfinished)
    with make(unfinished).open({}, restart=True) as run:
        assert run.resume() is None


@pytest.mark.parametrize("num_lines", [3, 4, 5])
def test_lines_that_the_checkpoint_holds_are_published_again(unfinished: Path, num_lines: int) -> None:
    path = unfinished / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:num_lines]))
    assert resume(unfinished) == [line(n)[0] for n in range(6)]


@pytest.mark.parametrize("content", [None, b"", b"garbage\n", b'{"iteration": 0, "time": 1, "metrics": {}}\ngarbage\n'])
def test_damaged_times_of_a_run_are_a_warning(
    unfinished: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    (unfinished / "timing.jsonl").unlink()
    if content is not None:
        (unfinished / "timing.jsonl").write_bytes(content)
    assert len(resume(unfinished)) == 6
    assert "some times of the run are lost" in caplog.text
    caplog.clear()
    assert len(read_run(unfinished).metrics) == 6
    assert not caplog.records


def test_a_lost_checkpoint_does_not_leave_lines_that_nobody_vouches_for(unfinished: Path) -> None:
    (unfinished / "checkpoint.pt").unlink()
    path = unfinished / "metrics.jsonl"
    path.write_text(path.read_text().replace('"test/miou": 0.1', '"test/miou": 0.7'))
    with make(unfinished).open({}, restart=False) as run:
        assert run.resume() is None
        run.record(*line(0))
        run.commit({"iteration": 0})
        run.record(*line(1))
        with pytest.raises(ValueError, match="another line for iteration 1"):
            run.commit({"iteration": 1})


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"key": "k", "status": "finished", "sha256": "x"}'])
def test_a_damaged_run_json_is_a_message_and_restart_helps(unfinished: Path, content: str) -> None:
    (unfinished / "run.json").write_text(content)
    for ask in (lambda: make(unfinished).status, lambda: make(unfinished).open({}, restart=False)):
        with pytest.raises(ValueError, match=r"run.json is damaged; run.restart=true starts this run over"):
            ask()
    with make(unfinished).open({}, restart=True) as run:
        assert run.status == "running"


def test_a_changed_file_of_a_finished_run_is_found_where_it_is_read(odkd: Callable[..., Path]) -> None:
    run = odkd()
    read_run(run)
    load_student(run)
    for name, read in {
        "metrics.jsonl": read_run,
        "timing.jsonl": read_run,
        "summary.json": read_run,
        "config.yaml": load_student,
        "student.safetensors": load_student,
    }.items():
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        with pytest.raises(ValueError, match=rf"{name} was changed since the run finished .*run.restart=true"):
            read(run)
        (run / name).write_bytes(content)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"params": {}}))
    with pytest.raises(ValueError, match=r"run.json is damaged"):
        read_run(run)


def test_records_of_a_training_are_published_again_while_those_of_the_next_one_wait(tmp_path: Path) -> None:
    """Of a pair that is trained side by side, the first one tells of all its epochs after each of them."""
    records = [{name: {"iteration": n, "a": n} for name in ("metrics", "timing")} for n in range(4)]
    first = PublishedLines(tmp_path)
    first.repair()
    first.append(records)
    resumed = PublishedLines(tmp_path)
    resumed.repair()
    for known in (records[:1], records[:2], records[:2], records[2:]):
        assert resumed.append(known) == []
    resumed.check_end()
    assert len(resumed.metrics()) == 4


def test_records_that_a_checkpoint_vouches_for_are_published_again_beside_newer_ones(tmp_path: Path) -> None:
    records = [{name: {"iteration": n, "a": n} for name in ("metrics", "timing")} for n in range(5)]
    first = PublishedLines(tmp_path)
    first.repair()
    first.append(records[:4])
    vouched = first.vouched()
    first.append(records[4:])
    resumed = PublishedLines(tmp_path)
    resumed.repair()
    resumed.check(vouched)
    assert resumed.append(records[3:]) == []  # the second one of a pair begins at 3
    resumed.check_end()


@pytest.mark.parametrize("name", ["run.log", "metrics.jsonl", "students"])
def test_a_run_with_a_link_in_it_is_not_gone_on_with(name: str, unfinished: Path, tmp_path: Path) -> None:
    (unfinished / name).unlink(missing_ok=True)
    (unfinished / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{name} is a link"):
        make(unfinished).open({}, restart=False)
    assert not (tmp_path / "elsewhere").exists()
