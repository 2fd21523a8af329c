"""A live session that is looked at and recorded: its page is opened, hung on, and closed while it plays."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from odkd.config.compose import compose_config
from odkd.config.parts_stream import StreamParts

SECONDS = 150.0  # for which the test waits at most; this process and the session may be stopped for two minutes
COMMAND = [
    *(sys.executable, "-m", "odkd", "stage=live", "debug=smoke", "stage.record=true", "stage.repeats=9"),
    *("stage.port=0", "tracking=none", "run.report=false", "run.plots=false"),
]


def wait(condition: Callable[[], Any], told: Callable[[], str]) -> Any:
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, told()
        time.sleep(0.1)
    return found


def now(address: str) -> dict[str, Any]:
    with urlopen(f"{address}now", timeout=SECONDS) as answer:
        return dict(json.load(answer))


def hang(address: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", urlsplit(address).port or 0))
    client.sendall(b"GET /now HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
    return client


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_session_is_looked_at_and_recorded_while_it_plays_and_can_be_replayed_afterwards(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("wb") as out:
        session = subprocess.Popen(
            COMMAND, cwd=tmp_path, stdout=out, stderr=out, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
    try:
        found = wait(lambda: re.search(r"look at it: (http://127\.0\.0\.1:\d+/)", log.read_text()), log.read_text)
        clients = [hang(found[1]) for _ in range(5)]
        view = wait(lambda: (seen := now(found[1]))["made"] and len(seen["scores"]) >= 2 and seen, log.read_text)
        assert all(view["pictures"].values())
        assert {entry["part"] for entry in view["state"]} == {"source", "student", "teacher", "trainer"}
        words = {number["words"] for number in view["numbers"]}
        assert {
            "age of the weights",
            "age of the newest label",
            "frames per second",
            "memory of all processes",
        } <= words
        for client in clients:
            client.close()
        wait(lambda: now(found[1])["frame"] > view["frame"], log.read_text)
        session.send_signal(signal.SIGINT)
        assert session.wait(SECONDS) == 0, log.read_text()
    finally:
        session.kill()
        session.wait()
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    lines = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    cfg = compose_config(["experiment=replay"], str(run / "recording" / "replay"))
    assert 0 < cfg.timing.train_seconds < SECONDS
    stream = StreamParts(cfg.dataset, tmp_path / "cache", [], lambda _: None).sampled
    assert len(stream) >= sum(line["cost/frames"] for line in lines)
    journal = (run / "recording" / "sessions" / "0001.jsonl").read_text().splitlines()
    assert len(journal) >= sum(line["cost/teacher_frames"] for line in lines) > 0
