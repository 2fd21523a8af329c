"""What MLflow's pages show of a run first: its description, its scores, its settings; a user's own words stay."""

import json
from pathlib import Path
from typing import Any

import pytest
from fabricated_run import FabricatedRun, metric_rows, outputs_folder, runs_in, sync_run, uri_of

from odkd.runs.mlflow_client import mlflow_client
from odkd.runs.mlflow_note import NOTE, run_note
from odkd.runs.mlflow_store import Store
from odkd.runs.mlflow_sync import sync
from odkd.runs.results import read_run
from odkd.runs.sweeps.parent import parent_run

PARAMS = {
    "seed": "1",
    "dataset.name": "camvid",
    "teacher.name": "fpn",
    "student.name": "tinynet",
    "window.learn": "67",
    "window.test": "20",
    "window.step": "20",
    "replay": "mir",
    "regularizer": "none",
    "replay._target_": "odkd.training.replay.mir.Mir",
}


@pytest.fixture
def outputs(tmp_path: Path, empty_database: Path) -> Path:
    return outputs_folder(tmp_path, empty_database)


def the_run(outputs: Path) -> Any:
    (found,) = runs_in(outputs)
    return found


def test_the_description_says_how_a_run_was_made_and_how_good_it_is(outputs: Path) -> None:
    run = FabricatedRun(outputs)
    run.write(params=PARAMS)
    (run.folder / "overrides.txt").write_text("replay=mir\nrun.name=two words\n")
    sync_run(run)
    begun = the_run(outputs).data.tags[NOTE]
    assert begun.split("  \n") == [
        "stage online, dataset camvid, teacher fpn, student tinynet, seed 1",
        "replay mir; window: learns from 67 frames, is tested on the next 20, moves by 20",
        "`odkd replay=mir 'run.name=two words'`",
    ]
    run.end()
    sync_run(run)
    ended = the_run(outputs).data.tags[NOTE]
    assert ended.startswith("**total/miou** 0.5000 teacher  \n")
    assert f"run_uuid={the_run(outputs).info.run_id})" in ended
    still = ended.partition("get-artifact?path=images%2F")[2].partition("&")[0].replace("%2B", "+")
    (folder,) = outputs.glob("mlartifacts/*/artifacts/images")
    assert (folder / still).is_file()
    assert "+step+40+" in still


def test_a_description_that_a_user_wrote_in_mlflow_stays(outputs: Path) -> None:
    run = FabricatedRun(outputs)
    sync_run(run)
    mlflow_client(uri_of(outputs)).set_tag(the_run(outputs).info.run_id, NOTE, "my best run")
    run.end()
    sync_run(run)
    assert the_run(outputs).data.tags[NOTE] == "my best run"


def test_every_stage_and_every_end_has_a_description(tmp_path: Path) -> None:
    for stage, status, params in (("label", "finished", PARAMS), ("mckd", "killed", PARAMS), ("", "failed", {})):
        run = FabricatedRun(tmp_path, key=f"key_{stage}")
        run.write(stage=stage, status=status, params=params)
        (run.folder / "error.txt").write_text("Traceback\nValueError: too small\n")
        note = run_note(read_run(run.folder))
        assert "window" not in note
        assert ("stage " in note) == bool(stage)
        assert ("replay mir" in note) == (stage == "mckd")
        assert note.startswith(f"**{status}**: ValueError: too small  \n")
        assert "`odkd`" in note


def test_classes_are_tags_in_mlflow_and_params_again_when_they_are_read(outputs: Path) -> None:
    run = FabricatedRun(outputs)
    run.write(params=PARAMS, tags={"odkd.run_key": run.record["key"]})
    sync_run(run)
    assert not [key for key in the_run(outputs).data.params if key.endswith("_target_")]
    (stored,) = Store(uri_of(outputs)).runs("study")
    assert stored.params == PARAMS
    assert not [key for key in stored.tags if key.endswith("_target_")]


def test_the_score_comes_first_among_the_metrics_and_positions_and_times_last(outputs: Path) -> None:
    run = FabricatedRun(outputs)
    metrics = {"stream/position": 3.0, "learn/loss_total": 1.0, "test/iou/car": 0.1, "test/miou": 0.2}
    run.line("timing.jsonl", iteration=0, time=1790000000.0, metrics={"time/learn_seconds": 1.0})
    run.line("metrics.jsonl", iteration=0, position=3, metrics=metrics)
    sync_run(run)
    names = [row[1] for row in metric_rows(outputs / "mlflow.db")]
    assert names == ["test/miou", "learn/loss_total", "test/iou/car", "stream/position", "time/learn_seconds"]


def sweep_folder(outputs: Path, values: list[float | None], status: str = "running") -> Path:
    folder = outputs / "sweeps" / "seed-0"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        {"number": n, "overrides": [f"seed={n}"], "status": "finished", "seconds": 1.0, "value": value, "run": None}
        | {"metric": "total/miou", "error": None}
        for n, value in enumerate(values)
    ]
    record = {"key": "k", "name": "seed-0", "command": "odkd -m seed=0,1", "overrides": ["seed=0,1"], "jobs": jobs}
    record |= {"varying": ["seed"], "status": status, "created": "2026-11-21T10:00:00+00:00", "metric": "total/miou"}
    (folder / "sweep.json").write_text(json.dumps(record))
    (folder / "run.json").write_text(json.dumps(parent_run(record)))
    return folder


def test_a_sweep_has_its_best_and_mean_score_and_the_swept_values_also_while_it_runs(outputs: Path) -> None:
    place = {"uri": uri_of(outputs), "experiment": "study"}
    for values, best, mean in (([0.25], 0.25, 0.25), ([0.25, 0.75], 0.75, 0.5), ([0.25, 0.75, None], 0.75, 0.5)):
        for _ in range(2):
            sync(sweep_folder(outputs, values), **place, artifacts=False)
        found = the_run(outputs)
        assert found.data.params == {"seed": "0,1"}
        assert found.data.metrics == {"summary/sweep_best/total/miou": best, "summary/sweep_mean/total/miou": mean}
    assert "odkd.changed_params" not in found.data.tags
    assert len(metric_rows(outputs / "mlflow.db")) == 4  # a row for each new value


def test_the_description_of_a_sweep_follows_its_jobs(outputs: Path) -> None:
    place = {"uri": uri_of(outputs), "experiment": "study"}
    sync(sweep_folder(outputs, [None]), **place, artifacts=False)
    assert "1 finished" in the_run(outputs).data.tags[NOTE]
    sync(sweep_folder(outputs, [0.5, 0.25], "finished"), **place, artifacts=False)
    (state,) = [line for line in the_run(outputs).data.tags[NOTE].splitlines() if line.startswith("**finished")]
    assert state == "**finished**: 2 finished; **best total/miou** 0.5000; **mean total/miou** 0.3750"


def test_names_of_somebody_else_stay_text_in_a_description(outputs: Path) -> None:
    names = {"teacher.name": "<img src=http://host/t>", "student.name": "![p](http://host/p.png)"}
    run = FabricatedRun(outputs)
    run.write(params=PARAMS | names)
    (run.folder / "overrides.txt").write_text("teacher.name='`a` <b> ![q](http://host/q.png)'\n")
    note = run_note(read_run(run.folder))
    assert "<img" not in note
    assert "![p](" not in note
    assert "`` odkd " in note  # the command is code, in which nothing is markup
