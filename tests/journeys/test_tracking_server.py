"""A real `mlflow server` that is killed with signal 9 and restarted, and answers that are lost on the way."""

import random
import shutil
import socket
import sys
import threading
import time

import pytest
from bench.server import Server
from fabricated_run import FabricatedRun, assert_each_step_once
from sweep_command import Workplace, check_mlflow

from odkd.commands import sync as sync_command
from odkd.runs.mlflow_place import PLACES
from odkd.runs.mlflow_sync import sync
from odkd.runs.sync import Follower
from odkd.runs.trackers.mlflow import MLflow

pytestmark = pytest.mark.slow


class Cutter:
    """A proxy that drops the server's answer to request number `cut`."""

    def __init__(self, server_port, cut):
        self.server_port, self.cut, self.num_requests = server_port, cut, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client):
        with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
            while request := read_message(client):
                self.num_requests += 1
                is_cut = self.num_requests == self.cut
                server.sendall(request)
                answer = read_message(server)
                if is_cut or not answer:
                    return
                client.sendall(answer)

    def close(self):
        self.listener.close()


def read_message(connection):
    """Read one HTTP message with a Content-Length; return empty bytes when the connection is closed."""
    message = b""
    while b"\r\n\r\n" not in message:
        part = connection.recv(65536)
        if not part:
            return b""
        message += part
    head, _, body = message.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server") / "store")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def outputs(tmp_path):
    yield tmp_path / "outputs"
    shutil.rmtree(tmp_path / "outputs")


def assert_complete(server, run, experiment, status="FINISHED"):
    """Check that the experiment has one MLflow run, with every step once and every file complete."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert found.info.status == status
    for key in ("test/iou/class 0", "test/iou/class 38", "time/learn_seconds"):
        history = client.get_metric_history(found.info.run_id, key)
        assert [point.step for point in history] == list(range(run.num_iterations))
    sizes = {file.path: file.file_size for file in client.list_artifacts(found.info.run_id)}
    for name in ("overlay.mp4", "student.safetensors", "metrics.jsonl"):
        assert sizes[name] == (run.folder / name).stat().st_size
    return found.info.run_id


def test_logging_to_a_server_prints_nothing(server, outputs, capfd):
    run = FabricatedRun(outputs)
    run.publish(30)
    run.end()
    assert sync(run.folder, uri=server.uri, experiment="quiet", artifacts=True) == 30
    assert sync(run.folder, uri=server.uri, experiment="quiet", artifacts=True) == 0
    assert capfd.readouterr() == ("", "")
    assert_complete(server, run, "quiet")


@pytest.mark.parametrize("cut", range(1, 26))
def test_a_lost_answer_duplicates_nothing(server, outputs, cut):
    experiment = f"cut {cut}"
    run = FabricatedRun(outputs)
    run.publish(30)
    run.end()
    cutter = Cutter(server.port, cut)
    try:
        sync(run.folder, uri=cutter.uri, experiment=experiment, artifacts=True)
        was_cut = False
    except Exception:
        was_cut = True
    cutter.close()
    if cutter.num_requests < cut:
        assert not was_cut
    elif not was_cut:  # the lost answer was one about the saved view, which no run needs
        assert_complete(server, run, experiment)
    sync(run.folder, uri=server.uri, experiment=experiment, artifacts=True)
    assert_complete(server, run, experiment)


@pytest.mark.timeout(900)  # a server takes up to a minute to start on a busy machine
def test_a_server_killed_while_runs_are_followed_has_everything_once_in_the_end(tmp_path):
    server = Server(tmp_path / "store")
    server.start()
    run = FabricatedRun(tmp_path / "outputs")
    follower = Follower(run.folder, MLflow(uri=server.uri, experiment="killed"), seconds=0.02)
    follower.start()
    moments = random.Random(0)
    slowest = 0.0
    for _ in range(4):
        end = time.monotonic() + moments.uniform(0.3, 2.0)
        while time.monotonic() < end:
            start = time.monotonic()
            run.publish(10)
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.02)
        server.kill()
        run.publish(10)
        while follower.error is None:
            time.sleep(0.01)
        server.start()
    assert slowest < 1.0, "publishing never waits for a server"
    server.kill()
    run.end()
    assert not follower.close(20)
    server.start()
    sync(run.folder, uri=server.uri, experiment="killed", artifacts=True)
    assert_complete(server, run, "killed")
    server.kill()
    assert_each_step_once(server.folder / "mlflow.db", [run])


@pytest.mark.timeout(900)
def test_a_sweep_during_which_the_server_is_killed_has_everything_once_in_the_end(tmp_path):
    server = Server(tmp_path / "store")
    server.start()
    (tmp_path / "work").mkdir()
    place = Workplace(tmp_path / "work")
    process = place.start("seed=range(12)", f"tracking.uri={server.uri}")
    place.wait_until(lambda: place.num_lines() >= 3, process)
    server.kill()
    place.wait_until(lambda: place.statuses()["finished"] >= 2, process)
    server.start()
    assert process.wait() == 0, place.log.read_text()
    assert place.statuses() == {"finished": 12}
    assert "sent to MLflow, which had not received everything:" in place.log.read_text()
    server.kill()
    place.database = server.folder / "mlflow.db"
    check_mlflow(place, 12, place.num_lines() // 12)


def test_command_sends_the_rest_once_the_server_is_back(tmp_path, monkeypatch, capsys):
    server = Server(tmp_path / "store")
    run = FabricatedRun(tmp_path / "outputs")
    run.publish(20)
    (tmp_path / "outputs" / PLACES).write_text(f"{server.uri}\n")  # as the run's job has noted
    monkeypatch.chdir(tmp_path)
    follower = Follower(run.folder, MLflow(uri=server.uri, experiment="later"), seconds=60)
    follower.start()
    run.end()
    assert not follower.close(20)
    monkeypatch.setattr(sys, "argv", ["odkd-sync", str(run.folder)])
    with pytest.raises(SystemExit, match="1"):
        sync_command.main()
    assert f"Start the MLflow server at {server.uri}" in capsys.readouterr().out
    server.start()
    with pytest.raises(SystemExit, match="0"):
        sync_command.main()
    assert f"20 iterations sent to {server.uri}" in capsys.readouterr().out
    assert_complete(server, run, "later")
    server.kill()
