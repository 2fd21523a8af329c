"""Copying a run folder to MLflow: params, tags, metrics, files and status, each sent once."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fabricated_run import (
    FabricatedRun,
    assert_each_step_once,
    images_in,
    metric_rows,
    outputs_folder,
    runs_in,
    sync_run,
    uri_of,
)

from odkd.common.files import write_json
from odkd.runs.mlflow_client import without_password
from odkd.runs.mlflow_sync import forget, is_complete, sync
from odkd.runs.sweeps.plan import SweepPlan, sweep_key
from odkd.runs.sweeps.sweep import Sweep


@pytest.fixture
def outputs(tmp_path, empty_database):
    return outputs_folder(tmp_path, empty_database)


def test_a_run_appears_with_name_params_tags_and_every_iteration(outputs):
    run = FabricatedRun(outputs)
    run.publish(3)
    assert sync_run(run) == 3
    (found,) = runs_in(outputs)
    assert found.info.run_name == "camvid"
    assert found.info.status == "RUNNING"
    assert found.data.params == {"seed": "1", "student": "tinynet", "dataset.name": "camvid"}
    assert found.data.tags["odkd.git.folder"] == "abc with uncommitted changes"
    assert found.data.tags["mlflow.source.git.commit"] == "abc"
    assert "odkd.error" not in found.data.tags
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("camvid", "0123456789abcdef0123456789abcdef0123")
    assert found.data.tags["odkd.run_folder"] == str(run.folder)
    assert found.data.metrics["test/iou/class 4"] == 2 / 3 + 4
    assert found.data.metrics["time/learn_seconds"] == 2.1
    assert {row[2:4] for row in metric_rows(outputs / "mlflow.db")} == {
        (step, 1790000000123 + 1000 * step) for step in range(3)
    }
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_only_new_iterations_are_sent(outputs):
    run = FabricatedRun(outputs)
    for _ in range(3):
        run.publish(4)
        assert sync_run(run) == 4
        assert sync_run(run) == 0
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_rows_sent_twice_are_identical_and_the_store_drops_the_second(outputs):
    from mlflow import MlflowClient

    run = FabricatedRun(outputs)
    run.publish(30)
    sync_run(run)
    before = sorted(metric_rows(outputs / "mlflow.db"))
    (found,) = runs_in(outputs)
    MlflowClient(tracking_uri=uri_of(outputs)).set_tag(found.info.run_id, "odkd.synced_iteration", "7")
    run.publish(1)
    assert sync_run(run) == 23
    after = sorted(metric_rows(outputs / "mlflow.db"))
    assert [row for row in after if row[2] < 30] == before
    assert_each_step_once(outputs / "mlflow.db", [run])


@pytest.mark.parametrize("step", [0, 24, 25, 29])  # 25 iterations of 40 metrics fill a batch
def test_a_store_that_fails_in_the_middle_gets_the_missing_rows_later(outputs, step):
    run = FabricatedRun(outputs)
    run.publish(30)
    refuse = f"create trigger full before insert on metrics when new.step = {step} and new.key like 'time/%'"
    change(outputs / "mlflow.db", f"{refuse} begin select raise(abort, 'disk full'); end")
    with pytest.raises(Exception, match="disk full"):
        sync_run(run)
    change(outputs / "mlflow.db", "drop trigger full")
    sync_run(run)
    assert_each_step_once(outputs / "mlflow.db", [run])


def change(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


def test_an_incomplete_line_is_not_sent_before_it_is_complete(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    text = (run.folder / "metrics.jsonl").read_text()
    (run.folder / "metrics.jsonl").write_text(text[:-20])
    assert sync_run(run) == 1
    (run.folder / "metrics.jsonl").write_text(text)
    assert sync_run(run) == 1
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_an_iteration_repeated_after_a_kill_has_the_time_of_its_metrics(outputs):
    run = FabricatedRun(outputs)
    run.line("timing.jsonl", iteration=0, time=1.0, metrics={"time/learn_seconds": 9.0})
    assert sync_run(run) == 0
    run.publish(1)
    sync_run(run)
    assert {row[3] for row in metric_rows(outputs / "mlflow.db")} == {1790000000123}
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_undefined_values_are_left_out_and_odd_class_names_are_accepted(outputs):
    run = FabricatedRun(outputs)
    metrics = {"test/iou/Straße (côté), 50%": 0.5, "a//b/": 0.25, "undefined": None, "k" * 300: 1.0}
    run.line("metrics.jsonl", iteration=0, position=0, metrics=metrics)
    sync_run(run)
    rows = {row[1]: row[4] for row in metric_rows(outputs / "mlflow.db")}
    assert rows == {"test/iou/Straße _côté__ 50_": 0.5, "a/b": 0.25, "k" * 250: 1.0}


@pytest.mark.parametrize("num_metrics", [2, 499, 500, 999, 1000, 1001, 2300])
def test_batches_hold_complete_iterations_of_any_size(outputs, num_metrics):
    run = FabricatedRun(outputs)
    run.publish(3, num_metrics=num_metrics)
    assert sync_run(run) == 3
    assert sync_run(run) == 0
    assert_each_step_once(outputs / "mlflow.db", [run], num_metrics=num_metrics)


def test_long_values_are_cut_and_many_params_are_sent_in_several_batches(outputs):
    params = {f"group.key{index}": "x" * 7000 for index in range(230)}
    run = FabricatedRun(outputs)
    run.write(params=params, tags={f"tag{index}": "y" * 9000 for index in range(130)})
    sync_run(run)
    from mlflow.utils.validation import MAX_TAG_VAL_LENGTH  # 8000, and 5000 in early releases of MLflow 2

    (found,) = runs_in(outputs)
    assert len(found.data.params) == 230
    assert found.data.params["group.key229"] == "x" * 6000
    assert found.data.tags["tag129"] == "y" * min(8000, MAX_TAG_VAL_LENGTH)


def test_a_changed_param_is_noted_in_a_tag(outputs):
    run = FabricatedRun(outputs)
    sync_run(run)
    run.write(params={"seed": "1", "student": "smp", "new": "2"})
    sync_run(run)
    (found,) = runs_in(outputs)
    assert found.data.params == {"seed": "1", "student": "tinynet", "dataset.name": "camvid", "new": "2"}
    assert found.data.tags["odkd.changed_params"] == "student: tinynet -> smp"


def test_an_ended_run_has_summary_files_and_status(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    run.end()
    sync_run(run)
    (found,) = runs_in(outputs)
    assert found.info.status == "FINISHED"
    assert found.info.end_time == 1790000001123
    assert found.data.metrics["summary/total/miou"] == 0.5
    assert ("summary/total/miou", 0, 1790000001123) in {row[1:4] for row in metric_rows(outputs / "mlflow.db")}
    artifacts = outputs / "mlartifacts" / found.info.run_id / "artifacts"
    names = {path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*.*")}
    names = {name for name in names if not name.startswith("images/")}
    few = {"config.yaml", "metrics.jsonl", "summary.json", "overlay.mp4", "student.safetensors", "report.html"}
    assert names == few | {"plots/miou.png", "plots/losses.png"}


def test_complete_files_are_uploaded_once_and_cut_off_files_again(outputs):
    run = FabricatedRun(outputs)
    run.end()
    sync_run(run)
    (overlay,) = outputs.glob("mlartifacts/*/artifacts/overlay.mp4")
    plot = overlay.parent / "plots" / "miou.png"
    plot.write_bytes(b"X" * plot.stat().st_size)  # a second upload would overwrite this
    overlay.write_bytes(b"half")
    sync_run(run)
    assert plot.read_bytes().startswith(b"X")
    assert overlay.read_bytes() == (run.folder / "overlay.mp4").read_bytes()


def test_stills_are_uploaded_as_images_at_their_iterations(outputs):
    run = FabricatedRun(outputs)
    run.end()
    sync_run(run)
    expected = [(3, (3, 3, 3)), (40, (40, 40, 40))]
    assert images_in(outputs, "-????????????.webp") == images_in(outputs, "compressed.webp") == expected
    assert runs_in(outputs)[0].data.tags["mlflow.loggedImages"] == "True"
    run.paint(3, 40, 41)
    (half,) = outputs.glob("mlartifacts/*/artifacts/images/overlay+step+40+*compressed.webp")
    half.write_bytes(b"half")  # as left by a kill
    sync_run(run)
    expected += [(41, (41, 41, 41))]
    assert images_in(outputs, "-????????????.webp") == images_in(outputs, "compressed.webp") == expected


def test_each_sample_of_system_metrics_is_sent_once(outputs):
    run = FabricatedRun(outputs)
    for sample in range(1100):  # more than one batch
        run.line("system.jsonl", sample=sample, time=1790000000.5 + sample, metrics={"system/cpu": 1.5 * sample})
        if sample in (3, 1099):
            sync_run(run)
    sync_run(run)
    rows = [row[1:] for row in metric_rows(outputs / "mlflow.db")]
    assert sorted(rows) == sorted(("system/cpu", n, 1790000000500 + 1000 * n, 1.5 * n) for n in range(1100))


def test_the_status_is_sent_even_if_files_cannot_be_stored(outputs):
    (outputs / "mlartifacts").write_text("a file where the folder should be")
    run = FabricatedRun(outputs)
    run.publish(1)
    run.end("failed")
    with pytest.raises(OSError, match="mlartifacts"):
        sync_run(run)
    (found,) = runs_in(outputs)
    assert found.info.status == "FAILED"
    (outputs / "mlartifacts").unlink()
    assert sync_run(run) == 0
    assert len(list(outputs.glob("mlartifacts/*/artifacts/overlay.mp4"))) == 1


def test_a_run_is_finished_in_mlflow_only_after_its_final_scores_are_sent(outputs):
    run = FabricatedRun(outputs)
    run.publish(1)
    run.end()
    refuse = "create trigger refuse before insert on metrics when new.key like 'summary/%'"
    refuse += " begin select raise(abort, 'x'); end"
    with closing(sqlite3.connect(outputs / "mlflow.db")) as connection:
        connection.execute(refuse)
        with pytest.raises(Exception, match="x"):
            sync_run(run)
        assert runs_in(outputs)[0].info.status == "RUNNING"
        connection.execute("drop trigger refuse")
    sync_run(run)
    (found,) = runs_in(outputs)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["summary/total/miou"] == 0.5


def test_the_run_folder_knows_whether_mlflow_has_everything(outputs):
    run = FabricatedRun(outputs)
    place = {"uri": uri_of(outputs), "experiment": "study"}
    assert not is_complete(run.folder, **place)
    run.publish(1)
    run.write(status="killed", updated=1.0)
    sync_run(run)
    assert is_complete(run.folder, **place)
    assert not is_complete(run.folder, **place | {"experiment": "other"})
    run.write(status="running", updated=2.0)
    run.publish(1)
    run.write(status="killed", updated=3.0)  # while MLflow was not reachable
    assert not is_complete(run.folder, **place)
    run.end()
    sync_run(run)
    assert is_complete(run.folder, **place)
    (run.folder / "plots" / "late.png").write_bytes(b"made after the end")
    assert not is_complete(run.folder, **place)
    sync_run(run)
    assert is_complete(run.folder, **place)
    assert len(list(outputs.glob("mlartifacts/*/artifacts/plots/late.png"))) == 1


def test_runs_behind_a_link_to_another_disk_belong_to_the_outputs_folder(outputs, tmp_path):
    (tmp_path / "scratch" / "all" / "runs").mkdir(parents=True)
    (outputs / "runs").symlink_to(tmp_path / "scratch" / "all" / "runs")
    asked = ("seed=0",)
    plan = SweepPlan(
        outputs / "sweeps" / "seed-0", sweep_key(asked), "odkd -m seed=0", asked, ("seed",), fail_fast=False
    )
    run = FabricatedRun(outputs)
    with Sweep(plan) as sweep:
        sweep.add([["seed=0"]])
        run.write(sweep={"key": plan.key, "folder": "sweeps/seed-0"}, title="seed=0")
        run.end()
        sync_run(run)
    runs = {found.info.run_name: found for found in runs_in(outputs)}
    assert runs["seed=0"].data.tags["mlflow.parentRunId"] == runs["seed-0"].info.run_id
    assert len(list(outputs.glob("mlartifacts/*/artifacts/overlay.mp4"))) == 1


def test_the_status_follows_a_run_that_is_killed_resumed_and_finished(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    for status in ("killed", "running", "finished"):
        run.write(status=status)
        sync_run(run)
        (found,) = runs_in(outputs)
        assert found.info.status == {"killed": "KILLED", "running": "RUNNING", "finished": "FINISHED"}[status]
        run.publish(1)
    sync_run(run)
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_a_lost_mlflow_json_is_restored_from_mlflow(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    note = json.loads((run.folder / "mlflow.json").read_text())
    (run.folder / "mlflow.json").unlink()
    run.publish(2)
    assert sync_run(run) == 2
    assert json.loads((run.folder / "mlflow.json").read_text()) == note
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_a_run_that_is_started_over_becomes_a_new_mlflow_run(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    note = (run.folder / "mlflow.json").read_text()
    shutil.rmtree(run.folder)
    again = FabricatedRun(outputs, created="2026-11-22T10:00:00+00:00")
    (again.folder / "mlflow.json").write_text(note)
    again.publish(3)
    assert sync_run(again) == 3
    assert_each_step_once(outputs / "mlflow.db", [run, again])


def test_another_uri_or_experiment_gets_a_separate_run(outputs, tmp_path, empty_database):
    run = FabricatedRun(outputs)
    run.publish(2)
    assert sync_run(run) == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(empty_database, elsewhere / "mlflow.db")
    assert sync_run(run, uri=uri_of(elsewhere)) == 2
    assert sync_run(run) == 0  # back to the first store: the first run is found
    assert sync(run.folder, uri=uri_of(outputs), experiment="other", artifacts=False) == 2
    assert_each_step_once(elsewhere / "mlflow.db", [run])
    assert_each_step_once(outputs / "mlflow.db", [run, run])


def test_an_unknown_run_id_is_replaced_by_that_of_the_run_with_the_same_key(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    note = json.loads((run.folder / "mlflow.json").read_text())
    (run.folder / "mlflow.json").write_text(json.dumps(note | {"run_id": "0" * 32}))
    shutil.rmtree(outputs / "mlartifacts", ignore_errors=True)
    assert sync_run(run) == 0  # the run exists under another id
    assert json.loads((run.folder / "mlflow.json").read_text()) == note


def test_a_run_or_experiment_that_the_user_deleted_stays_deleted(outputs):
    from mlflow import MlflowClient

    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    (found,) = runs_in(outputs)
    client = MlflowClient(tracking_uri=uri_of(outputs))
    client.delete_run(found.info.run_id)
    with pytest.raises(ValueError, match=r"deleted in MLflow; restore it there, or remove .*mlflow\.json"):
        sync_run(run)
    client.delete_experiment(found.info.experiment_id)
    (run.folder / "mlflow.json").unlink()
    with pytest.raises(ValueError, match=r"tracking\.experiment=study was deleted"):
        sync_run(run)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no run\.json"):
        sync(tmp_path, uri=uri_of(tmp_path), experiment="study", artifacts=False)


def test_jobs_are_children_of_their_sweep_even_if_they_are_sent_first(outputs):
    asked = ("seed=0,1",)
    plan = SweepPlan(
        outputs / "sweeps" / "seed-0", sweep_key(asked), "odkd -m seed=0,1", asked, ("seed",), fail_fast=False
    )
    place = {"uri": uri_of(outputs), "experiment": "study"}
    with Sweep(plan) as sweep:
        sweep.add([["seed=0"], ["seed=1"]])
        for number, status in enumerate(("finished", "failed")):
            run = FabricatedRun(outputs, key=f"{number}abc")
            link = {"key": plan.key, "folder": "sweeps/seed-0"}
            run.write(sweep=link, title=f"seed={number}", tags={"odkd.kind": "run"})
            run.publish(2)
            run.end(status)
            (run.folder / "error.txt").write_text("Traceback\nKeyError: 'x'\n")
            sync(run.folder, **place, artifacts=False)
            job = {"number": number, "status": status, "run": f"runs/{run.folder.name}", "seconds": 1.0}
            write_json(plan.job_file(number), job | {"metric": None, "value": None, "error": None})
    for _ in range(2):
        sync(plan.folder, **place, artifacts=True)
    runs = {run.info.run_name: run for run in runs_in(outputs)}
    assert set(runs) == {"seed-0", "seed=0", "seed=1"}
    parent = runs["seed-0"]
    assert parent.data.tags["odkd.kind"] == "sweep"
    assert parent.data.tags["odkd.sweep_key"] == plan.key
    assert parent.info.status == "FAILED"
    assert parent.info.end_time > parent.info.start_time
    assert "| 1 | 1 | failed |" in parent.data.tags["mlflow.note.content"]
    stored = {path.name for path in outputs.glob(f"mlartifacts/{parent.info.run_id}/artifacts/*")}
    assert stored == {"sweep.json", "jobs.json"}
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in ("seed=0", "seed=1")} == {parent.info.run_id}
    assert [runs[f"seed={n}"].info.status for n in range(2)] == ["FINISHED", "FAILED"]
    assert runs["seed=1"].data.tags["odkd.error"] == "KeyError: 'x'"


def test_forget_deletes_the_mlflow_run_of_a_folder(outputs):
    run = FabricatedRun(outputs)
    run.end("failed")
    sync_run(run)
    (found,) = runs_in(outputs)
    assert found.info.status == "FAILED"
    forget(run.folder, uri=uri_of(outputs), experiment="study")
    assert runs_in(outputs) == []


def test_a_password_is_neither_stored_nor_shown():
    assert without_password("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert without_password("sqlite:////tmp/a@b/mlflow.db") == "sqlite:////tmp/a@b/mlflow.db"
