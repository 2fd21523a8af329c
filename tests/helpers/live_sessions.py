"""Live sessions as a user runs them: real processes, real time."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS = 150.0  # for which a test waits at most; this process and the session may be stopped for two minutes
PLAIN = [
    *("stage=live", "debug=smoke", "optimizer.lr=1e-3", "precision=float32", "channels_last=false", "tracking=none"),
    *("run.report=false", "run.plots=false", "stage.port=0"),
]
SESSION = [*PLAIN, "dataset.prepare.frame_rate=25", "dataset.prepare.period_seconds=5", "dataset.stride=5"]


class Session:
    """A session in a process of its own."""

    def __init__(self, folder: Path, *words: str, before: Sequence[str] = (), base: Sequence[str] = SESSION) -> None:
        self._log = folder / f"log{len(list(folder.glob('log*')))}.txt"
        command = [sys.executable, "-m", "odkd", *before, *base, *words]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "2"}
            )

    @property
    def text(self) -> str:
        return self._log.read_text()

    def wait(self, condition: Callable[[str], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition(self.text):
            assert time.monotonic() < end, self.text
            assert self.process.poll() is None, self.text
            time.sleep(0.1)

    def children(self) -> dict[str, int]:
        """The newest process of each part."""
        found = {}
        for text in self.text.splitlines():
            if " is ready (process " in text:
                found[text.split()[1]] = int(text.rstrip(")").rpartition(" ")[2])
        return found

    def end(self) -> int:
        return self.process.wait(SECONDS)


def lines(folder: Path) -> list[dict[str, Any]]:
    (run,) = (folder / "outputs" / "runs").iterdir()
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
