"""When runs are copied to MLflow: in the background of a run, at its end, and with the command odkd-sync."""

import json
import multiprocessing
import socket
import sqlite3
import struct
import sys
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from fabricated_run import FabricatedRun, assert_each_step_once, outputs_folder, runs_in, sync_run, uri_of
from filelock import FileLock

from odkd.commands import sync as sync_command
from odkd.common.files import write_json
from odkd.common.temporary import temporary_for
from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config, default_config
from odkd.config.parts_tracking import tracking_of
from odkd.runs import sync as sync_module
from odkd.runs.mlflow_place import PLACES, known_places, remember_place
from odkd.runs.mlflow_sync import sync
from odkd.runs.reaching import is_unreachable
from odkd.runs.results import read_run
from odkd.runs.sweeps.launch import follow
from odkd.runs.sync import Follower, Tracking, brief, mark_if_killed
from odkd.runs.trackers.mlflow import MLflow

processes = multiprocessing.get_context("forkserver")


@pytest.fixture
def outputs(tmp_path, empty_database):
    return outputs_folder(tmp_path, empty_database)


def test_follower_sends_iterations_during_the_run_and_the_status_at_its_end(outputs):
    run = FabricatedRun(outputs)
    follower = Follower(run.folder, MLflow(uri=uri_of(outputs), experiment="study"), seconds=0.05)
    follower.start()
    for _ in range(10):
        run.publish(3)
        time.sleep(0.03)
    run.end()
    assert follower.close(30)
    (found,) = runs_in(outputs)
    assert found.info.status == "FINISHED"
    assert_each_step_once(outputs / "mlflow.db", [run])


def test_a_server_that_refuses_connections_neither_stops_nor_slows_a_run(outputs, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    run = FabricatedRun(outputs)
    follower = Follower(run.folder, MLflow(uri=uri, experiment="study"), seconds=0.1)
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
    assert len(messages) == 2, "one message at the first failure, one at the end"
    assert f"odkd-sync '{run.folder}'" in messages[1]
    assert sync_run(run) == 3  # nothing is lost


def test_a_server_that_hangs_does_not_delay_the_end_of_a_run(outputs, caplog):
    with socket.socket() as silent:  # accepts connections, but never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        follower = Follower(FabricatedRun(outputs).folder, MLflow(uri=uri, experiment="study"), seconds=0.1)
        follower.start()
        time.sleep(0.3)
        start = time.perf_counter()
        assert not follower.close(0.5)
        assert time.perf_counter() - start < 1.0
        assert "no answer in 0.5 s" in caplog.text


def test_a_server_that_hangs_delays_a_sweep_only_briefly(outputs, caplog, monkeypatch):
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
        tracking = tracking_of(cfg)
        follower = follow(begun.folder, cfg, tracking)
        assert follower is not None
        assert not tracking.send(ended.folder, briefly=True)
        tracking.forget(mended.folder)
        assert not follower.close(0.3)
        assert time.perf_counter() - start < 4
        assert "the failed run of" in caplog.text
        assert not mended.folder.exists()


def test_follower_retries_until_it_succeeds(outputs):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri_of(outputs))
    experiment_id = client.create_experiment("study")
    client.delete_experiment(experiment_id)
    run = FabricatedRun(outputs)
    run.publish(2)
    follower = Follower(run.folder, MLflow(uri=uri_of(outputs), experiment="study"), seconds=0.05)
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


def test_command_sends_each_run_to_the_store_and_experiment_that_it_notes(outputs, monkeypatch, capsys):
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


@pytest.mark.parametrize("again", ["command", "tracking"])
def test_what_a_process_left_that_was_killed_while_it_sent_a_run_is_removed(again, outputs, monkeypatch):
    outputs = outputs.rename(outputs.with_name("outputs"))
    monkeypatch.chdir(outputs.parent)
    run = FabricatedRun(outputs)
    run.publish(1)
    run.end()
    left = processes.Process(target=_leave_half_a_note, args=(run.folder,))
    left.start()
    left.join()
    own = temporary_for(run.folder / "mlflow.json")
    own.write_text("{")
    assert len(list(run.folder.glob(".mlflow.json.*"))) == 2
    if again == "command":
        assert command(monkeypatch) == 0
    else:
        assert Tracking(lambda: {"mlflow": MLflow(uri=uri_of(outputs), experiment="study")}).send(run.folder)
    assert list(run.folder.glob(".mlflow.json.*")) == [own]


def _leave_half_a_note(folder: Path) -> None:
    temporary_for(folder / "mlflow.json").write_text("{")


def test_files_behind_links_are_not_sent(outputs, tmp_path, caplog):
    secret, run = tmp_path / "secret.txt", FabricatedRun(outputs)
    secret.write_text("hunter2")
    run.publish(1)
    run.end()
    (tmp_path / "stills").mkdir()
    (tmp_path / "stills" / "3.webp").write_text("hunter2")
    for name in ("plots/x.png", "run.log", "error.txt", "stills/3.webp"):
        (run.folder / name).unlink(missing_ok=True)
        (run.folder / name).symlink_to(secret)
    sync_run(run)
    (found,) = runs_in(outputs)
    sent = Path(unquote(found.info.artifact_uri.removeprefix("file://")))
    names = {path.name for path in sent.rglob("*.*")}
    assert {"miou.png", "config.yaml"} <= names
    assert not names & {"x.png", "run.log", "error.txt"}
    assert "hunter2" not in "".join(path.read_text(errors="replace") for path in sent.rglob("*.*"))
    assert "hunter2" not in str(found.data.tags)
    assert f"{run.folder / 'run.log'} is a link" in caplog.text


@pytest.mark.parametrize("relative", [False, True])
def test_a_run_does_not_have_a_folder_outside_its_outputs_written_to_as_its_sweep(relative, outputs, tmp_path):
    sweep = tmp_path / "private"
    sweep.mkdir()
    (sweep / "sweep.json").write_text("{}")
    (sweep / "run.json").write_text(json.dumps({**FabricatedRun(tmp_path / "other").record}))
    run = FabricatedRun(outputs)
    run.write(sweep={"key": "x", "folder": "../private" if relative else str(sweep)})
    run.publish(1)
    run.end()
    before = sorted(path.name for path in sweep.iterdir())
    sync_run(run)
    assert sorted(path.name for path in sweep.iterdir()) == before
    (found,) = runs_in(outputs)
    assert "mlflow.parentRunId" not in found.data.tags


def test_command_does_not_connect_to_whatever_address_a_folder_notes(outputs, monkeypatch, capsys):
    monkeypatch.chdir(outputs.parent)
    run = FabricatedRun(outputs)
    run.publish(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        elsewhere = f"sqlite:///{outputs.parent}/elsewhere.db"
        for noted in (address, elsewhere):
            note = {"tracking_uri": noted, "experiment": "odkd", "experiment_id": None, "run_id": None}
            (run.folder / "mlflow.json").write_text(json.dumps(note))
            assert command(monkeypatch, outputs.name) == 1
            shown = capsys.readouterr().out
            assert f"it notes MLflow at {noted}, where no run of {outputs.name} has gone" in shown
            assert f"--uri {noted}" in shown
        with pytest.raises(TimeoutError):
            server.accept()
    assert not (outputs.parent / "elsewhere.db").exists()
    cfg = default_config()
    cfg.paths.outputs, cfg.tracking.uri = str(outputs), uri_of(outputs)
    for _ in range(2):
        remember_place(cfg)
    assert known_places(outputs) == {uri_of(outputs)}
    assert command(monkeypatch, outputs.name, "--uri", uri_of(outputs)) == 0


def test_command_without_a_server_gives_advice_and_fails(outputs, monkeypatch, capsys):
    runs = [FabricatedRun(outputs, key=key) for key in ("a", "b")]
    arguments = [str(run.folder) for run in runs]
    assert command(monkeypatch, *arguments, "--uri", "http://me:secret@127.0.0.1:9") == 1
    output = capsys.readouterr().out
    assert "MLflow at http://127.0.0.1:9: Connection refused" in output
    assert "not tried again" in output
    assert "Start the MLflow server at http://127.0.0.1:9 or name another with --uri" in output
    assert "secret" not in output


ODD: dict[str, dict[str, object]] = {  # of somebody else's run.json
    "updated": {"updated": 1e300},
    "early": {"created": "0001-01-01T00:00:00"},
    "late": {"created": "9999-12-31T23:59:59-14:00"},
    "key": {"key": "x'y"},
    "tag": {"tags": {"x": "\ud800", "\ud800": "y"}},
    "param": {"params": {"x": "\ud800", "\ud800": "y"}},
    "title": {"title": "\ud800"},
}
ODD_LINES: dict[str, dict[str, object]] = {
    "metric": {"iteration": 0, "metrics": {"a\ud800": 0.5, f"a{chr(0xD801)}": 0.25}},
    "iteration": {"iteration": 2**70, "metrics": {"test/miou": 0.5}},
    "time": {"iteration": 0, "time": 1e300, "metrics": {"test/miou": 0.5}},
}


def test_a_run_of_somebody_else_does_not_keep_the_others_from_being_sent(outputs, monkeypatch, capsys):
    monkeypatch.chdir(outputs.parent)
    for name, changes in ODD.items():
        FabricatedRun(outputs, key=f"a{name}").write(**changes)
    for name, line in ODD_LINES.items():
        FabricatedRun(outputs, key=f"a{name}").line("metrics.jsonl", **line)
    noted = {"tracking_uri": uri_of(outputs), "experiment": "\ud800", "run_id": None}
    (FabricatedRun(outputs, key="aexperiment").folder / "mlflow.json").write_text(json.dumps(noted))
    FabricatedRun(outputs, key="z").publish(2)
    assert command(monkeypatch, outputs.name) == 1
    shown = capsys.readouterr().out
    told = {line.partition("/camvid-")[2].partition(":")[0]: line for line in shown.splitlines()}
    failed = {name.removeprefix("a") for name, line in told.items() if "not sent" in line}
    assert failed == {"updated", "early", "late", "key", "iteration", "time", "experiment"}
    assert "2 iterations sent" in told["z"]
    assert "not tried again" not in shown
    assert "move it away;" not in shown.replace("or move its folder away", "")
    for name in ("updated", "early", "late", "iteration", "time"):
        assert "is damaged" in told[f"a{name}"], told[f"a{name}"]


def test_a_name_of_a_file_that_is_not_utf8_does_not_keep_a_run_from_being_sent(outputs):
    run = FabricatedRun(outputs)
    run.write(tags={"odkd.config_dir": "conf\udcff"}, title="\udcff")
    sync_run(run)
    (found,) = runs_in(outputs)
    assert found.data.tags["odkd.config_dir"] == "conf?"


@pytest.mark.parametrize("content", [b"this is no database" * 100, None], ids=["other", "damaged"])
def test_only_a_damaged_database_is_to_be_moved_away(content, outputs, monkeypatch, capsys):
    monkeypatch.chdir(outputs.parent)
    for key in "ab":
        FabricatedRun(outputs, key=key).publish(1)
    database = outputs / "mlflow.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096) if content is None else content)
    assert command(monkeypatch, outputs.name) == 1
    shown = capsys.readouterr().out
    assert "not tried again" in shown
    assert f"{database} is damaged: move it away" in shown


def test_an_error_is_of_the_place_or_of_the_run(tmp_path):
    from mlflow.exceptions import MlflowException

    def caused(error, cause):
        error.__cause__ = cause
        return error

    def of_file(number, *names):
        return OSError(number, "refused", names[0], None, *names[1:])

    own, other = str(tmp_path / "x"), str(tmp_path.parent / "x")
    unreachable = [
        *(None, TimeoutError("late"), caused(MlflowException("x"), ConnectionRefusedError(111, "refused"))),
        *(
            of_file(28, other),
            of_file(28, own, other),
            caused(MlflowException("x"), sqlite3.OperationalError("locked")),
        ),
    ]
    refused = [
        *(MlflowException("x"), caused(MlflowException("x"), OverflowError("too large")), KeyError("sample")),
        *(of_file(13, own), OSError("no picture"), sqlite3.IntegrityError("x")),
        caused(MlflowException("x"), ConnectionError("too many 500 error responses")),
    ]
    assert [error for error in unreachable if not is_unreachable(error, tmp_path)] == []
    assert [error for error in refused if is_unreachable(error, tmp_path)] == []


def test_command_reports_a_folder_without_a_run_and_continues(outputs, tmp_path, monkeypatch, capsys):
    run = FabricatedRun(outputs)
    run.publish(1)
    assert command(monkeypatch, str(tmp_path), str(run.folder), "--uri", uri_of(outputs)) == 1
    output = capsys.readouterr().out
    assert "has no run.json" in output
    assert "1 iteration sent" in output


def test_command_without_runs_says_where_it_looked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch) == 0
    assert "no runs or sweeps under outputs;" in capsys.readouterr().err


def test_command_sends_the_runs_of_an_outputs_folder_to_its_store_parents_first(outputs, monkeypatch, capsys):
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


def test_an_error_is_shortened_to_one_line_that_a_user_can_act_on():
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
def test_a_lost_connection_is_reported_in_a_phrase(outputs, caplog, answer, expected):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_all, args=(server, answer), daemon=True)
        thread.start()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        follower = Follower(FabricatedRun(outputs).folder, MLflow(uri=uri, experiment="study"), seconds=60)
        follower.start()
        follower.wait(30)
        follower.close(30)
    (message, *_) = [record.getMessage() for record in caplog.records if "the run goes on" in record.getMessage()]
    assert message == f"MLflow at {uri}: {expected}; the run goes on"


def answer_all(server: socket.socket, answer: bytes | None) -> None:
    """Answer each connection, close it without an answer (None), or reset it (b"")."""
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


def test_a_silent_or_missing_server_is_reported_in_a_phrase():
    import requests

    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(requests.Timeout) as silent:
            requests.get(uri, timeout=0.1)
    assert brief(silent.value) == "Read timed out"
    with pytest.raises(requests.ConnectionError) as refused:
        requests.get("http://127.0.0.1:9", timeout=1)
    assert brief(refused.value) == "Connection refused"


@pytest.mark.parametrize("name", ["a%20b", "what?"])
def test_an_outputs_folder_that_a_sqlite_uri_cannot_name_is_refused(tmp_path, name):
    at = f"paths.outputs='{tmp_path}/{name}'"
    with pytest.raises(ValueError, match="cannot lie below a name with"):
        check_config(complete(compose_config(["debug=smoke", "tracking=mlflow", at])))
    check_config(complete(compose_config(["debug=smoke", "tracking=none", at])))


@pytest.mark.parametrize(
    "uri",
    [
        "http://:@127.0.0.1:9/x@lab:5000",  # for `requests` this is 127.0.0.1
        "http://me@lab:5000",
        "http://lab:5000\x1b[2K",
        "http://lab:5000; touch x",
        "http://lab:5000.elsewhere",
    ],
)
def test_a_note_leads_to_no_other_host_than_a_known_one(uri: str, tmp_path: Path) -> None:
    (tmp_path / PLACES).write_text("http://lab:5000\n")
    sync_command.check_known("http://lab:5000", tmp_path, None)
    with pytest.raises(ValueError, match="note") as refused:
        sync_command.check_known(uri, tmp_path, None)
    assert str(refused.value).isprintable()


def test_ctrl_c_ends_the_command_with_a_line(outputs, monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sync_command._Sending, "send", interrupted)
    monkeypatch.setattr(sys, "argv", ["odkd-sync", str(outputs)])
    with pytest.raises(SystemExit) as ending:
        sync_command.main()
    assert ending.value.code == 130
    assert "odkd-sync: interrupted; finished work is kept" in capsys.readouterr().err
