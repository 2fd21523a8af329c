"""Trials: a command, disturbed at one point; then the same command undisturbed, and what is left in the end."""

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forks import call, go_on_in_fork, import_all, run_in_fork
from left_behind import differences, state_of
from points import ERRORS, KILLS
from shim import AFTER, BEFORE, COUNT, FAIL, FAIL_ON, MEMORY, SIGNAL, TORN, Shim
from stages import ONLINE, Stage, write_student

KILLING = dict(zip(KILLS, (BEFORE, AFTER, TORN), strict=True))
# A full disk and one that has become read-only stay so; the others come once.
FAILING = dict(zip(ERRORS, (FAIL_ON, FAIL_ON, FAIL_ON, FAIL, FAIL, FAIL), strict=True))
ENDINGS = {"SIGTERM": SIGNAL, "SIGINT": SIGNAL, "memory": MEMORY}
DOES_NOT_VERIFY = 90  # exit code of a fork whose command ended well


@dataclass
class Trial:
    """One disturbed command and the undisturbed one after it.

    `faults` says what broke a promise; an empty list is a success.
    """

    stage: str
    point: int
    how: str  # one of KILLS, ERRORS or ENDINGS
    hit: str = ""  # operation and file at the point; "" if the command ended before
    code: int = 0  # of the disturbed command; negative: the signal
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        return asdict(self)


class Attack:
    """A stage, what it leaves undisturbed, and its trials; every trial begins with a copy of one prepared folder."""

    def __init__(self, stage: Stage, shim: Shim, work: Path) -> None:
        self.stage, self._shim, self._work = stage, shim, work
        self._number = 0
        self._template = work / "template"
        self._template.mkdir(parents=True)
        write_student(self._template)
        self._log, self._points = work / "log.txt", work / "points.txt"
        self.verifies = False
        for words in stage.before:
            prepare(self._template, words, self._log)
        prepare(self._copy("warm"), stage.words, self._log)
        shutil.rmtree(work / "warm")

    def measure(self) -> None:
        """Run the command undisturbed: its points, and what it leaves; within `forks.begin`."""
        whole = self._copy("whole")
        code = go_on_in_fork(whole, self._log, lambda: self._plan(whole, 0, COUNT))
        assert code == 0, f"{self.stage.name}: {code}\n{self._log.read_text()[-2000:]}"
        self.points = [line.split("\t")[1:] for line in self._points.read_text().splitlines()]
        self.expected = state_of(whole / "outputs", has_mlflow=self.stage.has_mlflow)
        shutil.rmtree(whole)

    def trial(self, point: int, how: str) -> Trial:
        """Disturb the command at a point, give it again, and compare; within `forks.begin`."""
        started = time.monotonic()
        self._number += 1
        folder = self._copy(f"trial{self._number}")
        kind = (KILLING | FAILING | ENDINGS)[how]
        number = getattr(errno, how, 0) or getattr(signal, how, 0)
        code = go_on_in_fork(folder, self._log, lambda: self._plan(folder, point, kind, number))
        found = self._points.read_text().splitlines()
        hit = " ".join(found[point - 1].split("\t")[1:]) if len(found) >= point else ""
        trial = Trial(self.stage.name, point, how, hit, code=0 if code is None else code)
        trial.faults += self._ending(trial, code, self._log.read_text())
        if trial.how in ("SIGTERM", "SIGINT") and code:
            trial.faults += [
                f"its run is {status}" for status in statuses(folder) if status not in ("killed", "finished")
            ]
        trial.faults += self._again(folder)
        trial.seconds = round(time.monotonic() - started, 2)
        shutil.rmtree(folder)
        return trial

    def end(self, code: int) -> int:
        """Return the exit code of a fork whose command has ended: the undisturbed one also reads all labels."""
        if not self.verifies or code:
            return code
        return DOES_NOT_VERIFY if call(["odkd-labels", "verify", "outputs/cache/labels"]) else 0

    def _again(self, folder: Path) -> list[str]:
        """Give the command undisturbed; return what differs from a folder that was never disturbed."""
        code = go_on_in_fork(folder, self._log, lambda: setattr(self, "verifies", True))
        last = " | ".join(self._log.read_text().strip().splitlines()[-2:])[:400]
        if code not in (0, DOES_NOT_VERIFY):
            return [f"the same command ends with {code}: {last}"]
        broken = [f"odkd-labels verify: {last}"] if code else []
        return broken + differences(self.expected, state_of(folder / "outputs", has_mlflow=self.stage.has_mlflow))

    def _ending(self, trial: Trial, code: int | None, output: str) -> list[str]:
        """Return what is wrong with how the disturbed command ended."""
        if code is None:
            return ["it hung"]
        if trial.how == "memory":  # libraries may abort, as after a kill
            return []
        if "Traceback" in output:
            before, _, after = output.partition("Traceback")
            return [f"a traceback: {before[-200:]} Traceback {after[:1500]}"]
        if trial.how in KILLS:
            return [] if code == -signal.SIGKILL or not trial.hit else [f"it ended with {code} in place of the kill"]
        if trial.how in ENDINGS:
            number = getattr(signal, trial.how)
            return [] if code in (0, 128 + number, -number) else [f"it ended with {code}: {output.strip()[-200:]}"]
        if code not in (0, 1, 2):
            return [f"it ended with {code}"]
        said = [line for line in output.splitlines() if line.startswith("odkd: ")]
        if self.stage.is_job and code and (code != 2 or len(said) != 1):
            return [f"code {code} with {len(said)} messages: {output.strip()[-200:]}"]
        return []

    def _plan(self, folder: Path, point: int, how: int, number: int = 0) -> None:
        log = os.open(self._points, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self._shim.plan(folder / "outputs", point, how, number, log)

    def _copy(self, name: str) -> Path:
        folder = self._work / name
        shutil.copytree(self._template, folder)  # with the times: the cache's notes go by them
        (folder / "outputs").mkdir(exist_ok=True)
        return folder


def statuses(folder: Path) -> set[str]:
    """Return the statuses of all runs in a folder."""
    return {json.loads(path.read_text())["status"] for path in folder.glob("outputs/runs/*/run.json")}


def prepare(folder: Path, words: Sequence[str], log: Path) -> None:
    """Run a command in a fork, which must end well, and import what it has imported."""
    modules = log.with_name("modules.txt")

    def job() -> int:
        code = call(words)
        modules.write_text("\n".join(sys.modules))
        return code

    code = run_in_fork(folder, log, job)
    assert code == 0, f"{words}: {code}\n{log.read_text()[-2000:]}"
    import_all(modules.read_text().splitlines())


def prepare_imports(folder: Path) -> None:
    """Import what the commands import."""
    folder.mkdir(parents=True)
    write_student(folder)
    prepare(folder, ONLINE, folder / "log.txt")
