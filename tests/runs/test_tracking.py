"""MLflow follows the run folder: everything once, whatever is killed, and quietly."""

import json
import multiprocessing
import os
import random
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fabricated_run import FabricatedRun, assert_each_step_once, metric_rows
from filelock import FileLock
from PIL import Image

from odkd.commands import sync as sync_command
from odkd.common.files import write_json
from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config
from odkd.runs import sync as sync_module
from odkd.runs.results import read_run
from odkd.runs.sweeps.launch import follow
from odkd.runs.sweeps.sweep import Sweep, SweepPlan, sweep_key
from odkd.runs.sync import Follower, brief, mark_if_killed
from odkd.runs.tracking import forget, is_complete, sync, without_password

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["odkd.runs.tracking", "mlflow.store.tracking.sqlalchemy_store"])


@pytest.fixture
def outputs(tmp_path, empty_database):
    outputs = tmp_path / "out puts"  # people have blanks in their paths
    outputs.mkdir()
    shutil.copy(empty_database, outputs / "mlflow.db")
    return outputs


def uri_of(outputs):
    return f"sqlite:///{outputs / 'mlflow.db'}"


def sync_run(run, *, artifacts=True, uri=None):
    return sync(run.folder, uri=uri or uri_of(run.outputs), experiment="study", artifacts=artifacts)


def runs_in(outputs, experiment="study"):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri_of(outputs))
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id]) if found else []


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


def test_rows_sent_again_are_the_identical_rows_and_the_store_drops_them(outputs):
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


def test_a_line_that_is_being_written_waits_for_its_end(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    text = (run.folder / "metrics.jsonl").read_text()
    (run.folder / "metrics.jsonl").write_text(text[:-20])
    assert sync_run(run) == 1
    (run.folder / "metrics.jsonl").write_text(text)
    assert sync_run(run) == 1
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_an_iteration_done_again_after_a_kill_has_the_time_of_its_metrics(outputs):
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
def test_batches_hold_whole_iterations_of_any_size(outputs, num_metrics):
    run = FabricatedRun(outputs)
    run.publish(3, num_metrics=num_metrics)
    assert sync_run(run) == 3
    assert sync_run(run) == 0
    assert_each_step_once(outputs / "mlflow.db", [run], num_metrics=num_metrics)


def test_long_values_are_cut_and_many_are_split(outputs):
    params = {f"group.key{index}": "x" * 7000 for index in range(230)}
    run = FabricatedRun(outputs)
    run.write(params=params, tags={f"tag{index}": "y" * 9000 for index in range(130)})
    sync_run(run)
    (found,) = runs_in(outputs)
    assert len(found.data.params) == 230
    assert found.data.params["group.key229"] == "x" * 6000
    assert found.data.tags["tag129"] == "y" * 8000


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


def test_files_are_uploaded_once_but_cut_off_ones_again(outputs):
    run = FabricatedRun(outputs)
    run.end()
    sync_run(run)
    (overlay,) = outputs.glob("mlartifacts/*/artifacts/overlay.mp4")
    plot = overlay.parent / "plots" / "miou.png"
    plot.write_bytes(b"X" * plot.stat().st_size)  # would be overwritten if it were sent again
    overlay.write_bytes(b"half")
    sync_run(run)
    assert plot.read_bytes().startswith(b"X")
    assert overlay.read_bytes() == (run.folder / "overlay.mp4").read_bytes()


def images_in(outputs, ending):
    """Step and pixel of the images that MLflow shows, of one of the two sizes that it keeps."""
    paths = outputs.glob(f"mlartifacts/*/artifacts/images/overlay+step+*{ending}")
    return sorted((int(path.name.split("+")[2]), Image.open(path).convert("RGB").getpixel((5, 5))) for path in paths)


def test_stills_are_images_of_their_iterations(outputs):
    run = FabricatedRun(outputs)
    run.end()
    sync_run(run)
    expected = [(3, (3, 3, 3)), (40, (40, 40, 40))]
    assert images_in(outputs, "-????????????.webp") == images_in(outputs, "compressed.webp") == expected
    assert runs_in(outputs)[0].data.tags["mlflow.loggedImages"] == "True"
    run.paint(3, 40, 41)
    (half,) = outputs.glob("mlartifacts/*/artifacts/images/overlay+step+40+*compressed.webp")
    half.write_bytes(b"half")  # as a kill leaves it
    sync_run(run)
    expected += [(41, (41, 41, 41))]
    assert images_in(outputs, "-????????????.webp") == images_in(outputs, "compressed.webp") == expected


def test_the_state_of_the_machine_follows_once_each(outputs):
    run = FabricatedRun(outputs)
    for sample in range(1100):  # more than one batch
        run.line("system.jsonl", sample=sample, time=1790000000.5 + sample, metrics={"system/cpu": 1.5 * sample})
        if sample in (3, 1099):
            sync_run(run)
    sync_run(run)
    rows = [row[1:] for row in metric_rows(outputs / "mlflow.db")]
    assert sorted(rows) == sorted(("system/cpu", n, 1790000000500 + 1000 * n, 1.5 * n) for n in range(1100))


def test_the_status_arrives_even_if_files_cannot_be_stored(outputs):
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


def test_a_run_is_finished_in_mlflow_only_with_its_final_numbers(outputs):
    run = FabricatedRun(outputs)
    run.publish(1)
    run.end()
    refuse = "create trigger refuse before insert on metrics when new.key like 'final/%'"
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


def test_what_mlflow_lacks_is_known_without_asking_it(outputs):
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
    run.write(status="killed", updated=3.0)  # while MLflow was away
    assert not is_complete(run.folder, **place)
    run.end()
    sync_run(run)
    assert is_complete(run.folder, **place)
    (run.folder / "plots" / "late.png").write_bytes(b"made after its end")
    assert not is_complete(run.folder, **place)
    sync_run(run)
    assert is_complete(run.folder, **place)
    assert len(list(outputs.glob("mlartifacts/*/artifacts/plots/late.png"))) == 1


def test_runs_on_another_disk_belong_to_these_outputs(outputs, tmp_path):
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


@pytest.mark.parametrize("name", ["a%20b", "what?"])
def test_a_folder_that_no_sqlite_address_can_name_is_refused(tmp_path, name):
    at = f"paths.outputs='{tmp_path}/{name}'"
    with pytest.raises(ValueError, match="cannot lie below a name with"):
        check_config(complete(compose_config(["debug=smoke", "tracking=mlflow", at])))
    check_config(complete(compose_config(["debug=smoke", "tracking=none", at])))


def test_a_killed_run_that_is_resumed_runs_again_and_finishes(outputs):
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


def test_a_lost_note_is_found_again_in_mlflow(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    note = json.loads((run.folder / "mlflow.json").read_text())
    (run.folder / "mlflow.json").unlink()
    run.publish(2)
    assert sync_run(run) == 2
    assert json.loads((run.folder / "mlflow.json").read_text()) == note
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_a_run_started_over_is_another_run(outputs):
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


def test_another_uri_or_experiment_gets_its_own_run(outputs, tmp_path, empty_database):
    run = FabricatedRun(outputs)
    run.publish(2)
    assert sync_run(run) == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(empty_database, elsewhere / "mlflow.db")
    assert sync_run(run, uri=uri_of(elsewhere)) == 2
    assert sync_run(run) == 0  # back again: the first run is found
    assert sync(run.folder, uri=uri_of(outputs), experiment="other", artifacts=False) == 2
    assert_each_step_once(elsewhere / "mlflow.db", [run])
    assert_each_step_once(outputs / "mlflow.db", [run, run])


def test_a_store_that_was_wiped_gets_everything_anew(outputs):
    run = FabricatedRun(outputs)
    run.publish(2)
    sync_run(run)
    note = json.loads((run.folder / "mlflow.json").read_text())
    (run.folder / "mlflow.json").write_text(json.dumps(note | {"run_id": "0" * 32}))
    shutil.rmtree(outputs / "mlartifacts", ignore_errors=True)
    assert sync_run(run) == 0  # the run is there under another id
    assert json.loads((run.folder / "mlflow.json").read_text()) == note


def test_what_the_user_deleted_in_mlflow_stays_deleted(outputs):
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


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no run\.json"):
        sync(tmp_path, uri=uri_of(tmp_path), experiment="study", artifacts=False)


def test_jobs_are_children_of_their_sweep_whoever_comes_first(outputs):
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


def test_a_failed_attempt_that_is_mended_is_forgotten(outputs):
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


QUIET = """
import os, sys
from pathlib import Path
from odkd.runs.sync import Follower
before = dict(os.environ)
folder, uri = sys.argv[1:]
follower = Follower(Path(folder), uri=uri, experiment="study", seconds=60)
follower.start()
assert follower.close(60), follower.error
assert dict(os.environ) == before
import mlflow
assert mlflow.active_run() is None
assert not mlflow.is_tracking_uri_set()
"""


def test_a_new_database_is_filled_in_silence_and_no_global_state_is_left(tmp_path):
    run = FabricatedRun(tmp_path / "outputs")
    run.publish(2)
    run.end()
    command = [sys.executable, "-c", QUIET, str(run.folder), uri_of(run.outputs)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean, timeout=100)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
    assert_each_step_once(run.outputs / "mlflow.db", [run])


def sync_in_process(folder: Path, uri: str) -> None:
    sync(folder, uri=uri, experiment="study", artifacts=True)


def kill_sync_often(run: FabricatedRun, *, num_kills: int) -> None:
    """kill -9 a real process at random moments of its sync, while the run goes on and finally ends."""
    moments = random.Random(num_kills)
    num_killed = 0
    for kill in range(num_kills):
        run.publish(10)
        if kill == num_kills // 2:
            run.end()
        process = processes.Process(target=sync_in_process, args=(run.folder, uri_of(run.outputs)))
        process.start()
        process.join(moments.uniform(0.02, 0.2))
        process.kill()
        process.join()
        num_killed += process.exitcode == -9
    assert num_killed > num_kills // 3, "too late to kill: the test shows nothing"
    run.publish(1)
    sync_run(run)
    assert len(runs_in(run.outputs)) == 1
    assert_each_step_once(run.outputs / "mlflow.db", [run])
    (overlay,) = run.outputs.glob("mlartifacts/*/artifacts/overlay.mp4")
    assert overlay.read_bytes() == (run.folder / "overlay.mp4").read_bytes()
    assert [step for step, _ in images_in(run.outputs, ".webp")] == [3, 3, 40, 40]


def test_nothing_is_there_twice_after_kills_in_the_middle_of_a_sync(outputs):
    kill_sync_often(FabricatedRun(outputs), num_kills=10)


@pytest.mark.slow
def test_nothing_is_there_twice_after_a_hundred_kills(outputs):
    kill_sync_often(FabricatedRun(outputs), num_kills=100)


def run_at_once(arguments: list[tuple[Path, str]]) -> None:
    started = [processes.Process(target=sync_in_process, args=each) for each in arguments]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * len(started)


def test_processes_that_sync_one_run_at_once_do_not_duplicate(outputs):
    run = FabricatedRun(outputs)
    run.publish(100)
    run.end()
    run_at_once([(run.folder, uri_of(outputs))] * 4)
    assert len(runs_in(outputs)) == 1
    assert_each_step_once(outputs / "mlflow.db", [run])


@pytest.mark.slow
def test_a_database_whose_making_was_killed_at_any_instant_is_made_anew(tmp_path):
    run = FabricatedRun(tmp_path / "outputs")
    run.publish(2)
    run.end()
    database, unfinished = run.outputs / "mlflow.db", run.outputs / ".mlflow.db.new"
    num_half_made = 0
    for kill in range(6):
        process = processes.Process(target=sync_in_process, args=(run.folder, uri_of(run.outputs)))
        process.start()
        while process.is_alive() and not unfinished.exists():
            time.sleep(0.001)
        time.sleep(0.03 * kill)
        process.kill()
        process.join()
        num_half_made += unfinished.exists() and not database.exists()
        database.unlink(missing_ok=True)
    assert num_half_made > 2, "too late to kill: the test shows nothing"
    sync_run(run)
    assert not unfinished.exists()
    assert_each_step_once(database, [run])


@pytest.mark.slow
def test_processes_that_first_use_one_database_at_once_all_succeed(tmp_path):
    runs = [FabricatedRun(tmp_path / "outputs", key=str(index)) for index in range(4)]
    for run in runs:
        run.publish(5)
        run.end()
    run_at_once([(run.folder, uri_of(tmp_path / "outputs")) for run in runs])
    assert len(runs_in(tmp_path / "outputs")) == 4
    assert_each_step_once(tmp_path / "outputs" / "mlflow.db", runs)


def test_follower_follows_while_the_run_goes_on_and_closes_it(outputs):
    run = FabricatedRun(outputs)
    follower = Follower(run.folder, uri=uri_of(outputs), experiment="study", seconds=0.05)
    follower.start()
    for _ in range(10):
        run.publish(3)
        time.sleep(0.03)
    run.end()
    assert follower.close(30)
    (found,) = runs_in(outputs)
    assert found.info.status == "FINISHED"
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_a_server_that_refuses_neither_stops_nor_slows_a_run(outputs, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    run = FabricatedRun(outputs)
    follower = Follower(run.folder, uri=uri, experiment="study", seconds=0.1)
    start = time.perf_counter()
    follower.start()
    assert time.perf_counter() - start < 0.1
    time.sleep(0.5)
    run.publish(3)
    run.end()
    assert not follower.close(20)
    assert isinstance(follower.error, Exception)
    messages = [record.getMessage() for record in caplog.records if record.name == "odkd.runs.sync"]
    assert messages[0] == f"MLflow at {uri}: Connection refused; the run goes on"
    assert len(messages) == 2, "one message when it fails, one at the end"
    assert f"odkd-sync '{run.folder}'" in messages[1]
    assert sync_run(run) == 3  # nothing is lost


def test_a_server_that_hangs_does_not_hold_up_the_end(outputs, caplog):
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        follower = Follower(FabricatedRun(outputs).folder, uri=uri, experiment="study", seconds=0.1)
        follower.start()
        time.sleep(0.3)
        start = time.perf_counter()
        assert not follower.close(0.5)
        assert time.perf_counter() - start < 1.0
        assert "no answer in 0.5 s" in caplog.text


def test_a_server_that_hangs_holds_up_a_sweep_for_a_moment_only(outputs, caplog, monkeypatch):
    monkeypatch.setattr(sync_module, "BRIEFLY", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        cfg = compose_config(["debug=smoke", f"paths.outputs={outputs}", "tracking=mlflow", f"tracking.uri={uri}"])
        begun, ended, mended = (FabricatedRun(outputs, key=key) for key in ("0", "1", "2"))
        ended.end()
        write_json(mended.folder / "mlflow.json", {"tracking_uri": uri, "experiment": "odkd", "run_id": "1"})
        start = time.perf_counter()
        follower = follow(begun.folder, cfg)
        assert not sync_module.send(ended.folder, cfg, briefly=True)
        sync_module.forget(mended.folder, cfg)
        assert not follower.close(0.3)
        assert time.perf_counter() - start < 4
        assert "the failed run of" in caplog.text
        assert not mended.folder.exists()


def test_follower_goes_on_trying_until_it_succeeds(outputs):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri_of(outputs))
    experiment_id = client.create_experiment("study")
    client.delete_experiment(experiment_id)
    run = FabricatedRun(outputs)
    run.publish(2)
    follower = Follower(run.folder, uri=uri_of(outputs), experiment="study", seconds=0.05)
    follower.start()
    while follower.error is None:
        time.sleep(0.01)
    client.restore_experiment(experiment_id)
    run.end()
    assert follower.close(30), follower.error
    assert_each_step_once(outputs / "mlflow.db", [run])


def command(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["odkd-sync", *arguments])
    with pytest.raises(SystemExit) as end:
        sync_command.main()
    return int(end.value.code or 0)


def test_command_sends_all_runs_to_where_they_were_to_be_logged(outputs, monkeypatch, capsys):
    outputs = outputs.rename(outputs.with_name("outputs"))
    monkeypatch.chdir(outputs.parent)
    runs = [FabricatedRun(outputs, key=key) for key in ("a", "b")]
    for run in runs:
        run.publish(2)
    sync(runs[0].folder, uri=uri_of(outputs), experiment="study", artifacts=False)
    assert command(monkeypatch) == 0
    assert "outputs/runs/camvid-a: 0 iterations sent" in capsys.readouterr().out
    assert [run.info.status for run in runs_in(outputs)] == ["KILLED"]
    assert [run.info.status for run in runs_in(outputs, "odkd")] == ["KILLED"]
    assert_each_step_once(outputs / "mlflow.db", runs)


def test_command_without_a_server_gives_advice_and_fails(outputs, monkeypatch, capsys):
    runs = [FabricatedRun(outputs, key=key) for key in ("a", "b")]
    arguments = [str(run.folder) for run in runs]
    assert command(monkeypatch, *arguments, "--uri", "http://me:secret@127.0.0.1:9") == 1
    output = capsys.readouterr().out
    assert "MLflow at http://127.0.0.1:9: Connection refused" in output
    assert "not tried again" in output
    assert "Start the MLflow server at http://127.0.0.1:9 or name another with --uri" in output
    assert "secret" not in output


def test_command_names_a_folder_that_is_no_run_and_goes_on(outputs, tmp_path, monkeypatch, capsys):
    run = FabricatedRun(outputs)
    run.publish(1)
    assert command(monkeypatch, str(tmp_path), str(run.folder), "--uri", uri_of(outputs)) == 1
    output = capsys.readouterr().out
    assert "has no run.json" in output
    assert "1 iterations sent" in output


def test_command_without_runs_says_where_it_looked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch) == 0
    assert "no runs or sweeps under outputs;" in capsys.readouterr().err


def test_command_sends_all_of_an_outputs_folder_to_its_own_store_parents_first(outputs, monkeypatch, capsys):
    monkeypatch.chdir(outputs.parent)
    run, sweep, failed = (FabricatedRun(outputs, key=key) for key in "abc")
    (outputs / "sweeps").mkdir()
    sweep.folder.rename(outputs / "sweeps" / "study")
    (outputs / "sweeps" / "study" / "failed").mkdir()
    failed.folder.rename(outputs / "sweeps" / "study" / "failed" / "3")
    run.publish(2)
    assert command(monkeypatch, outputs.name) == 0
    store = uri_of(outputs)
    assert capsys.readouterr().out.splitlines() == [
        f"{outputs.name}/{place}: {count} iterations sent to {store}"
        for place, count in (("sweeps/study", 0), ("runs/camvid-a", 2), ("sweeps/study/failed/3", 0))
    ]


def test_only_a_run_whose_process_is_gone_is_marked_killed(outputs):
    run = FabricatedRun(outputs)
    holder = processes.Process(target=hold_lock, args=(run.folder,))
    holder.start()
    while not (run.folder / "held").exists():
        time.sleep(0.01)
    assert not mark_if_killed(run.folder)
    holder.kill()
    holder.join()
    assert mark_if_killed(run.folder)
    assert read_run(run.folder).status == "killed"
    run.write(status="finished")
    assert not mark_if_killed(run.folder)


def hold_lock(folder: Path) -> None:
    with FileLock(folder / "run.lock"):
        (folder / "held").touch()
        time.sleep(60)


def test_an_error_is_one_line_that_a_user_can_act_on():
    assert brief(OSError(28, "No space left on device")) == "No space left on device"
    assert brief(RuntimeError("first\nsecond")) == "first"
    assert brief(RuntimeError("word " * 100)).endswith("word word ...")
    assert brief(KeyError()) == "KeyError()"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "Remote end closed connection without response"),
        (b"", "Connection reset by peer"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\noh!", "too many 502 error responses"),
    ],
    ids=["closed", "reset", "502"],
)
def test_a_lost_connection_is_told_in_a_phrase(outputs, caplog, answer, expected):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_all, args=(server, answer), daemon=True)
        thread.start()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        follower = Follower(FabricatedRun(outputs).folder, uri=uri, experiment="study", seconds=60)
        follower.start()
        follower.wait(30)
        follower.close(30)
    (message, *_) = [record.getMessage() for record in caplog.records if "the run goes on" in record.getMessage()]
    assert message == f"MLflow at {uri}: {expected}; the run goes on"


def answer_all(server: socket.socket, answer: bytes | None) -> None:
    """Each connection is answered, closed without an answer (None), or reset (b"")."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            if answer:
                connection.sendall(answer)
            elif answer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_silent_or_absent_server_is_told_in_a_phrase():
    import requests

    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(requests.Timeout) as silent:
            requests.get(uri, timeout=0.1)
    assert brief(silent.value) == "Read timed out"
    with pytest.raises(requests.ConnectionError) as refused:
        requests.get("http://127.0.0.1:9", timeout=1)
    assert brief(refused.value) == "Connection refused"
