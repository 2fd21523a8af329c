"""What the runs of a table cost, as columns: `odkd-tables --costs`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fabricated_store import FabricatedStore

from odkd.report.tables import command
from odkd.report.tables.costs import cost_in_run
from odkd.runs.folder_store import FolderStore

SPEC = """
title: Rates
fixed: [dataset=synthetic_tiny]
stub: rate
seeds: [0]
rows:
  low: [student.dropout=0.1]
  high: [student.dropout=0.2]
columns:
  mIoU: mean/miou
"""
GIB = 2**30


@pytest.fixture
def store(tmp_path: Path) -> FabricatedStore:
    """Two runs: the first of an earlier odkd, whose teacher's frames are in cost.json alone."""
    found = FabricatedStore(tmp_path / "outputs")
    (tmp_path / "mine.yaml").write_text(SPEC)
    for number, (dropout, seconds) in enumerate((("0.1", 2.0), ("0.2", 3.0)), 1):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        processes = [{"started": str(n), "seconds": 9.0, "peak_memory_bytes": n * GIB / 2} for n in (number, 1)]
        cost = {"processes": processes, "teacher": {"frames": 40, "seconds": 1.0, "devices": [], "last": ""}}
        (folder / "cost.json").write_text(json.dumps(cost))
        told = {"mean/miou": 0.1 * number}
        told |= {"cost/updates": 90.0, "cost/teacher_frames": 30.0} if number == 2 else {}
        history = {
            "time/learn_seconds": {0: seconds, 1: 2 * seconds},
            "time/learn_frames_per_second": {0: 10.0, 1: 10.0},
            "learn/loss_total": {0: 1.0, 1: 1.0},
        }
        words = ["dataset=synthetic_tiny", f"student.dropout={dropout}", "seed=0"]
        found.add(words, told, tags={"odkd.run_folder": str(folder)}, history=history)
    return found


def test_any_table_shows_what_its_runs_cost(
    store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(tmp_path / "mine.yaml"), "--uri", store.uri, "--costs"])
    text = capsys.readouterr().out
    assert "| rate | mIoU (%) | updates | teacher's frames | learning time (x) | peak memory (GiB) | n |" in text
    assert "| low | 10.0 | 60 | 40 | 1.00 | 0.50 | 1 |" in text  # 20 and 40 frames, batches of one
    assert "| high | 20.0 | 90 | 30 | 1.50 | 1.00 | 1 |" in text
    assert "compare those of one machine only" in text


def test_a_table_without_a_row_to_compare_with_shows_seconds_and_no_column_twice(
    store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    updates = "  updates: {metric: learn/loss_total, take: updates, factor: 1, digits: 0, unit: ''}\n"
    (tmp_path / "mine.yaml").write_text(f"{SPEC}{updates}compared_with: false\n")
    command.main([str(tmp_path / "mine.yaml"), "--uri", store.uri, "--costs"])
    text = capsys.readouterr().out
    assert "| rate | mIoU (%) | updates | teacher's frames | learning time (s) | peak memory (GiB) | n |" in text
    assert "| high | 20.0 | 90 | 30 | 9.0 | 1.00 | 1 |" in text


def test_a_column_of_a_table_s_own_has_its_unit_and_is_not_added_again(
    store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(f"{SPEC}  steps: costs/updates\n  memory: costs/peak_memory_bytes\n")
    command.main([str(tmp_path / "mine.yaml"), "--uri", store.uri, "--costs"])
    text = capsys.readouterr().out
    assert "| rate | mIoU (%) | steps | memory (GiB) | teacher's frames | learning time (x) | n |" in text
    assert "| high | 20.0 | 90 | 1.00 | 30 | 1.50 | 1 |" in text


def test_a_number_that_no_run_has_is_named(
    store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(f"{SPEC}  memory: costs/peak_memory\n")
    with pytest.raises(SystemExit) as ended:
        command.main([str(tmp_path / "mine.yaml"), "--uri", store.uri])
    assert ended.value.code == 2
    assert "a run has no such number; did you mean peak_memory_bytes?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("replay=fifo",), ("stage=distill", "stage.epochs=1")])
def test_the_numbers_are_those_of_a_run(odkd: Callable[..., Path], words: tuple[str, ...]) -> None:
    folder = odkd(*words)
    store = FolderStore(folder.parents[1])
    (run,) = store.runs()
    found = {
        name: cost_in_run(run, f"costs/{name}", lambda metric: store.history(run, metric))
        for name in ("updates", "teacher_frames", "learn_seconds", "peak_memory_bytes")
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert found["updates"] == summary.get("num_updates", summary.get("cost/updates"))
    cost = json.loads((folder / "cost.json").read_text())
    assert found["teacher_frames"] == summary.get("cost/teacher_frames", cost["teacher"]["frames"])
    assert found["peak_memory_bytes"] == cost["processes"][0]["peak_memory_bytes"]
    assert 0 < (found["learn_seconds"] or 0) < cost["processes"][0]["seconds"]
