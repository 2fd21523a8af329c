"""Results are read as they were written: from run folders, also unfinished ones, and from MLflow, also older ones."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fabricated_run import FabricatedRun

from odkd.common.reading import DamagedFileError
from odkd.runs.mlflow_client import mlflow_client
from odkd.runs.mlflow_store import NothingStoredError, Store
from odkd.runs.records import read_lines
from odkd.runs.results import before_last_line, cost_of, last_lines, read_run, status_of


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def write_run(folder: Path, **more: Any) -> Path:
    folder.mkdir(parents=True)
    record = {"key": "k", "name": "n", "stage": "online", "status": "running", "params": {}, "tags": {}}
    (folder / "run.json").write_text(json.dumps(record | {"created": "2026-11-20T10:00:00+00:00"} | more))
    return folder


def test_a_line_has_the_time_of_the_timing_line_that_came_last(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text(
        lines({"iteration": 0, "metrics": {"test/miou": 0.1}}, {"iteration": 1, "metrics": {"test/miou": 0.2}})
    )
    (folder / "timing.jsonl").write_text(
        lines(
            {"iteration": 0, "time": 1.0, "metrics": {"time/learn_seconds": 5.0}},
            {"iteration": 0, "time": 2.0, "metrics": {"time/learn_seconds": 6.0}},  # done again after a kill
        )
    )
    run = read_run(folder)
    assert run.metrics[0] == {
        "iteration": 0,
        "time": 2.0,
        "metrics": {"test/miou": 0.1, "time/learn_seconds": 6.0},
    }
    assert run.metrics[1] == {"iteration": 1, "metrics": {"test/miou": 0.2}}
    assert run.milliseconds(run.metrics[0]) == 2000
    assert run.last_milliseconds == round(run.created.timestamp() * 1000)  # the last line has no time


def test_a_line_without_its_newline_is_still_being_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text(lines({"iteration": 0, "metrics": {}}) + '{"iteration": 1, "metr')
    assert [line["iteration"] for line in read_run(folder).metrics] == [0]


def test_an_unfinished_run_has_no_summary_and_a_failed_one_says_why(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", status="failed")
    (folder / "error.txt").write_text("Traceback\n  ...\nValueError: too small\n")
    run = read_run(folder)
    assert (run.status, run.summary, run.error) == ("failed", {}, "ValueError: too small")
    assert status_of(folder) == "failed"
    assert status_of(tmp_path) is None
    assert cost_of(folder) == {}


@pytest.mark.parametrize("key", ["", "a' or tags.`odkd.run_key` != '", "a b", "a\n", "é"])
def test_a_key_that_is_none_is_damage(key: str, tmp_path: Path) -> None:
    """MLflow is searched for a run's key, so that a key with quotes of its own would find the runs of others."""
    with pytest.raises(DamagedFileError, match="is no key"):
        read_run(write_run(tmp_path / "run", key=key))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no run\.json"):
        read_run(tmp_path)


def log(uri: str, metrics: dict[str, list[float]], **tags: str) -> str:
    """Log a run as an earlier odkd did, and return its id."""
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name("odkd")
    number = experiment.experiment_id if experiment else client.create_experiment("odkd")
    run = client.create_run(number, tags={"odkd.run_key": "k", **{f"odkd.{k}": v for k, v in tags.items()}})
    client.log_param(run.info.run_id, "replay._target_", "odkd.replay.mir.Mir")
    for name, values in metrics.items():
        for step, value in enumerate(values):
            client.log_metric(run.info.run_id, name, value, step=step)
    return str(run.info.run_id)


def test_a_run_that_an_earlier_version_logged_has_the_names_of_today(empty_database: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    log(uri, {"final/total/miou": [0.5], "final/miou": [0.4], "test/miou": [0.1, 0.3]}, stage="online")
    epochs = {"final/val/miou_teacher": [0.2, 0.6], "final/stage_1/student_0/miou_teacher": [0.7]}
    log(uri, epochs | {"final/miou_teacher": [0.8], "final/num_epochs": [2.0]}, stage="mckd")
    store = Store(uri)
    mckd, online = sorted(store.runs("odkd"), key=lambda run: run.tags["odkd.stage"])
    assert (online.final("total/miou"), online.final("last/miou")) == (0.5, 0.4)
    assert online.final("final/miou") is None
    assert store.history(online, "test/miou") == {0: 0.1, 1: 0.3}
    assert mckd.final("round_1/student_0/miou") == 0.7
    assert (mckd.final("final/miou"), mckd.final("num_epochs"), mckd.final("final/num_epochs")) == (0.8, 2.0, 2.0)
    assert store.history(mckd, "final/val/miou") == {0: 0.2, 1: 0.6}
    assert online.params == {"replay._target_": "odkd.training.replay.mir.Mir"}


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(NothingStoredError, match="there is no MLflow store"):
        Store(f"sqlite:///{tmp_path / 'none.db'}")


def test_an_undefined_score_is_none_in_the_folder_and_absent_in_mlflow(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", status="finished")
    (folder / "summary.json").write_text(json.dumps({"total/miou": None}))
    assert read_run(folder).summary == {"total/miou": None}


def test_runs_of_a_store_are_those_that_were_sent(empty_database: Path, tmp_path: Path) -> None:
    from odkd.runs.mlflow_sync import sync

    outputs = tmp_path / "outputs"
    run = FabricatedRun(outputs)
    (outputs / "mlflow.db").write_bytes(empty_database.read_bytes())
    run.end()
    uri = f"sqlite:///{outputs / 'mlflow.db'}"
    sync(run.folder, uri=uri, experiment="odkd", artifacts=False)
    (found,) = Store(uri).runs("odkd")
    told = read_run(run.folder).summary
    assert {name: found.final(name) for name in told} == {
        name: value for name, value in told.items() if value is None or math.isfinite(value)
    }


def test_lines_that_were_read_before_can_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert before_last_line(path) == 0
    for text, newest in (
        ("", None),
        ('{"iteration": 0}', None),
        ('{"iteration": 0}\n', 0),
        ('{"iteration": 0}\n{"iteration": 1}\n{"ite', 1),
        ("".join(f'{{"iteration": {n}, "a": "{"b" * 3000}"}}\n' for n in range(40)), 39),  # longer than one read
    ):
        path.write_text(text)
        found = read_lines(path, before_last_line(path))
        assert [line["iteration"] for line in found] == ([] if newest is None else [newest])


def test_a_line_whose_timing_was_written_early_keeps_it(tmp_path: Path) -> None:
    """The file of timings is ahead of the metrics for a moment; what was skipped of it is read where it is needed."""
    fabricated = FabricatedRun(tmp_path)
    fabricated.publish(5)
    run = fabricated.folder
    whole = read_run(run)
    ahead = last_lines(run) | {"metrics.jsonl": 0}
    assert read_run(run, ahead).metrics == whole.metrics
    assert read_run(run, last_lines(run)).metrics == whole.metrics[-1:]
