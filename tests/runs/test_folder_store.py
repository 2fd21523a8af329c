"""Runs read from their folders are those read from MLflow."""

import logging

import pytest
from fabricated_run import FabricatedRun, sync_run, uri_of

from odkd.report.tables.wanted import Matcher
from odkd.runs.folder_store import FolderStore
from odkd.runs.mlflow_store import Store, StoredRun


def content(run: StoredRun) -> tuple[object, ...]:
    of_mlflow = ("odkd.created", "odkd.synced_", "odkd.note_digest")  # what odkd notes for itself there
    tags = {key: value for key, value in run.tags.items() if key.startswith("odkd.") and not key.startswith(of_mlflow)}
    return run.key, run.name, run.status, run.started, run.params, tags, run.metrics


def test_folders_hold_the_runs_that_mlflow_holds(tmp_path) -> None:
    runs = [
        FabricatedRun(tmp_path, key=f"{number}123abcd", created=f"2026-11-21T1{number}:00:00+00:00")
        for number in range(3)
    ]
    for run, status in zip(runs, ("finished", "failed", "running"), strict=True):
        run.publish(3)
        named = {"test/iou/caf\u00e9 (x)": 0.5, "test/iou/car+truck": 0.25, "test/iou/car&truck": 0.75}
        run.line("metrics.jsonl", iteration=3, position=60, metrics={"test/miou": None, **named})
        if status == "running":
            run.write()
        else:
            run.end(status)
        sync_run(run)
    stored, found = Store(uri_of(tmp_path)), FolderStore(tmp_path)
    assert sorted(v for key, v in stored.runs()[0].metrics.items() if "car_truck" in key) == [0.25, 0.75]
    for here, there in zip(found.runs(), stored.runs(), strict=True):
        assert content(here) == content(there)
        for metric in ("test/iou/class 3", "time/learn_seconds", "test/miou"):
            assert found.history(here, metric) == stored.history(there, metric)
    ended = found.runs()[-1]
    assert found.lines(ended) == stored.lines(stored.runs()[-1])
    assert ended.final("total/miou") == 0.5


def test_a_damaged_run_is_left_out_with_a_warning_that_names_it(tmp_path, caplog) -> None:
    for key, changes in {"a": {"status": "x"}, "b": {"created": "0001-01-01T00:00:00"}, "c": {"key": "x'y"}}.items():
        FabricatedRun(tmp_path, key=key).write(**changes)
    FabricatedRun(tmp_path, key="d").line("metrics.jsonl", iteration="x")
    (FabricatedRun(tmp_path, key="f").folder / "summary.json").write_text("{")
    FabricatedRun(tmp_path, key="z").end()
    with caplog.at_level(logging.WARNING):
        (found,) = FolderStore(tmp_path).runs()
    assert found.key == "z"
    told = [record.getMessage() for record in caplog.records]
    for key in "abcdf":
        (line,) = [line for line in told if f"camvid-{key} is left out: " in line]
        assert "is damaged" in line


@pytest.mark.parametrize("digests", ["[]", "5", '{"x": []}', "{", "[" * 100_000])
def test_a_damaged_tag_of_a_run_ends_no_table(digests: str, tmp_path) -> None:
    run = FabricatedRun(tmp_path)
    run.write(tags={"odkd.file_digests": digests})
    run.end()
    (found,) = Matcher(FolderStore(tmp_path).runs()).runs["1"]
    assert found[0].files == {}
