"""A real `mlflow server` to measure and test with: it can be killed and started again on the same store."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

START_SECONDS = 90.0  # on a busy machine it takes up to a minute


class Server:
    """`mlflow server` on SQLite, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, folder / "mlflow.db"
        folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            RuntimeError: it does not, with the end of its log.
        """
        command = f"-m mlflow server --host 127.0.0.1 --port {self.port} --workers 1".split()
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log.txt").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, cwd=self.folder, env=environment,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"mlflow server does not start: {(self.folder / 'log.txt').read_text()[-2000:]}")

    def kill(self) -> None:
        """With signal 9, all its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
