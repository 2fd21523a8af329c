"""Weights & Biases as a tracker: its library logs in a process of its own (`wandb_process.py`).

So its import, its threads and its exit hooks are not in the process that trains, and a server that hangs is ended with
that process. Offline, each process of odkd writes the run anew from the run folder, into one folder of W&B, and then
deletes the folder that a killed process has left: no step is there twice. Online, W&B tells which steps it has.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from odkd.common.files import write_json
from odkd.common.optional import check_installed
from odkd.common.reading import read_json
from odkd.runs.mlflow_note import run_note
from odkd.runs.mlflow_sending import finite, is_sweep
from odkd.runs.records import stills_in
from odkd.runs.results import Run, read_run, status_of
from odkd.runs.trackers.parts import final_scores, identity_of, name_of, state_of

LOCK_SECONDS = 60.0
NOTE = "wandb.json"  # in the folder of a run: W&B's id, and whether all was sent
EXIT_CODES = {"finished": 0, "pruned": 0, "failed": 1, "killed": 255, "running": 255}


class WandB:
    """Runs in a project of Weights & Biases.

    Args:
        mode: offline, which writes files, or online.
        project: its name.
        entity: user or team that owns it; None = that of the account.
        folder: where files are written; None = the outputs.
        outputs: the folder of outputs.

    Raises:
        ValueError: the library is not installed.
    """

    def __init__(
        self,
        *,
        mode: Literal["offline", "online"] = "offline",
        project: str = "odkd",
        entity: str | None = None,
        folder: str | None = None,
        outputs: Path,
    ) -> None:
        check_installed("tracking=wandb", ["wandb"], "or leave it out")
        self._mode, self._owner = mode, {"project": project, "entity": entity}
        self._root = Path(folder) if folder else outputs
        where = f"project {project}" if mode == "online" else f"offline in {self._root / 'wandb'}"
        self.place = f"Weights & Biases, {where}"
        self.dashboard = "https://wandb.ai" if mode == "online" else f"wandb sync {self._root / 'wandb'}/offline-run-*"
        self._process: _Process | None = None

    def sync(self, folder: Path, *, is_last: bool, sent: Mapping[str, int]) -> int:
        """Send what is missing; see `odkd.runs.tracker.Tracker`."""
        with FileLock(folder / "wandb.lock", timeout=LOCK_SECONDS):
            state = state_of(folder) if is_last and (folder / "run.json").is_file() else None
            run = read_run(folder, sent if self._process is not None else {})
            if is_sweep(run):  # a job's run names it as its group
                return 0
            is_done = run.status == "running" or self.is_complete(folder)  # a running one is another process's
            if is_last and self._process is None and is_done:
                return 0
            try:
                return self._send(folder, run, state)
            except BaseException:
                self._end()  # the next pass begins anew
                raise

    def is_complete(self, folder: Path) -> bool:
        """Return True if all of a run that has ended was written, or sent, according to its folder."""
        if status_of(folder) in ("running", None):
            return False
        run, note = read_run(folder), _note(folder)
        is_here = self._mode == "online" or bool(self._folders(run))
        return is_sweep(run) or (is_here and note == self._noted(run) | {"complete": state_of(folder)})

    def forget(self, folder: Path) -> None:
        """Delete the files of a run; one that was sent stays."""
        for path in self._folders(read_run(folder)):
            shutil.rmtree(path, ignore_errors=True)

    def _send(self, folder: Path, run: Run, state: str | None) -> int:
        """Bring W&B up to date; with a `state`, end there."""
        newest = None
        if self._process is None:
            write_json(folder / NOTE, self._noted(run))
            self._process = _Process()
            newest = Path(self._process.ask({"init": self._settings(folder, run)})["folder"]).name
        rows = [[line["iteration"], run.milliseconds(line) / 1000, finite(line["metrics"])] for line in run.metrics]
        last = self._process.last
        new = [row for row in rows if row[0] > last]
        for first in range(0, len(new), 500):
            self._process.ask({"rows": new[first : first + 500]})
        self._process.last = new[-1][0] if new else last
        for path in self._folders(run) if newest is not None else ():
            if path.name != newest:  # it has less than the newest one
                shutil.rmtree(path)
        if state is not None:
            stills = [[caption, str(path.absolute())] for _, caption, path in stills_in(run.folder)]
            end = {
                "summary": final_scores(run),
                "notes": run_note(run),
                "stills": stills,
                "step": max(0, self._process.last),
            }
            self._process.ask({"end": end | {"exit_code": EXIT_CODES[run.status]}})
            self._end()
            write_json(folder / NOTE, self._noted(run) | {"complete": state if run.status != "running" else None})
        return len(new)

    def _settings(self, folder: Path, run: Run) -> dict[str, Any]:
        """Return the arguments with which W&B's library begins the run."""
        group = Path(run.sweep).name if run.sweep else None
        about = {"name": run.title, "group": group, "job_type": run.stage or None, "notes": run_note(run)}
        config = {**run.params, "odkd": {"folder": name_of(folder, run), **run.tags}}
        self._root.mkdir(parents=True, exist_ok=True)
        where = {"id": identity_of(run), "dir": str(self._root.absolute()), "mode": self._mode, **self._owner}
        return where | about | {"config": config}

    def _noted(self, run: Run) -> dict[str, Any]:
        """Return the note of a run that is not complete."""
        return {"id": identity_of(run), "mode": self._mode, **self._owner, "complete": None}

    def _folders(self, run: Run) -> list[Path]:
        """Return the folders that W&B has written of a run offline; a killed process may have left more than one."""
        return sorted((self._root / "wandb").glob(f"offline-run-*-{identity_of(run)}"))

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = None


def _note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = read_json(folder / NOTE, {"id": str}, advice="delete it")
    except (OSError, ValueError):
        return {}
    return note


class _Process:
    """The process with W&B's library: a question is a line of JSON, and so is its answer."""

    def __init__(self) -> None:
        self.last = -1  # number of the last iteration that W&B has
        environment = os.environ | {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
        command = [sys.executable, "-m", "odkd.runs.trackers.wandb_process"]
        # A session of its own: Ctrl-C in the terminal must not end it before the last pass.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.end = weakref.finalize(self, _kill, self._process)  # also at the end of this process

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            ConnectionError: W&B cannot be reached, or the process of its library is gone.
            RuntimeError: the library has refused what the run holds.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        except (OSError, ValueError):
            answer = {}
        if "error" in answer and not answer.get("is_out_of_reach"):
            raise RuntimeError(answer["error"])
        if "error" in answer or not answer:
            raise ConnectionError(answer.get("error", "the process of its library has ended"))
        self.last = answer.get("last", self.last)
        return answer


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()  # first: then no thread waits for it any more
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # the rest of a line that it did not read
            if stream is not None:
                stream.close()
