"""Fuzzing in forks of a process that has imported everything: each input ends in success, in one line, or is a finding.

A fork handles many inputs, one after the other, and tells of each before and after it. It may use MOST_BYTES more
memory than before, and SECONDS for an input; what ends it is found out by the parent, which forks again for the rest.
An audit hook sees programs that are started, code that a pickle names, and files that are written outside of the
place of the input.
"""

import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from odkd.__main__ import user_message
from odkd.common.reading import brief

SECONDS, ROUNDS, MOST_BYTES = 30, 10, 2 * 2**30
STARTED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
Prepare = Callable[[int, Path], Callable[[], object]]  # (number of the input, empty folder) -> what reads it


@dataclass
class Counts:
    """What became of the inputs of a kind."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, number: int, outcome: str, told: str) -> None:
        """Count an input; anything but success and refusal is a finding."""
        self.inputs += 1
        self.outcomes[outcome] += 1
        if outcome not in ("success", "refused"):
            self.findings.append(f"input {number}: {outcome}: {told}")

    def record(self) -> dict[str, int]:
        """Return the counts for a table."""
        kinds = {
            "traceback": "tracebacks",
            "hang": "hangs",
            "memory": "too_much_memory",
            "crash": "crashes",
            "several lines": "several_lines",
            "code": "code_run",
            "elsewhere": "written_elsewhere",
        }
        return {
            "inputs": self.inputs,
            "successes": self.outcomes["success"],
            "refused": self.outcomes["refused"],
        } | {name: self.outcomes[kind] for kind, name in kinds.items()}


def fuzz(prepare: Prepare, numbers: Sequence[int], folder: Path) -> Counts:
    """Read inputs in forks and return what became of them."""
    counts, left = Counts(), list(numbers)
    while left:
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            os.close(readable)
            _work(prepare, left, folder, writable)
        os.close(writable)
        left = _follow(child, readable, left, counts)
    return counts


def _follow(child: int, readable: int, left: list[int], counts: Counts) -> list[int]:
    """Count what a fork tells, until it has ended; return the inputs that it has not come to."""
    buffer, begun, silent = b"", None, 0
    while True:
        ready = select.select([readable], [], [], SECONDS / ROUNDS)[0]
        silent = 0 if ready else silent + 1
        if 0 < silent < ROUNDS:  # in rounds, so that a machine which stands still for a while counts as one of them
            continue
        part = os.read(readable, 2**16) if ready else b""
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            number, outcome, told = json.loads(line)
            begun = number if outcome == "begun" else None
            if outcome != "begun":
                counts.add(number, outcome, told)
        if not part:
            break
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.close(readable)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if begun is None:
        return [] if ready else left[:0]
    counts.add(begun, "hang" if not ready else "crash", f"it ended with {status}")
    return left[left.index(begun) + 1 :]


def _work(prepare: Prepare, numbers: Sequence[int], folder: Path, writable: int) -> None:
    """Be the fork: never returns."""
    torch.set_num_threads(1)  # a fork has no threads: work that is shared with those of its parent waits for ever
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen: list[tuple[str, str]] = []
    place = folder / "input"
    allowed = tempfile.tempdir = str(folder)  # files for a moment lie there, too
    folder.mkdir(parents=True, exist_ok=True)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(STARTED):
            seen.append(("code", f"{event} {args!r:.100}"))
        elif (event == "open" and isinstance(args[0], str) and (args[2] or 0) & WRITING) or event in CHANGES:
            where = args[0] if isinstance(args[0], str) else os.fsdecode(args[0]) if isinstance(args[0], bytes) else ""
            if where and not os.path.abspath(where).startswith((allowed, "/dev/", "/proc/self/")):  # noqa: PTH100
                seen.append(("elsewhere", f"{event} {where}"))

    sys.addaudithook(watch)
    for number in numbers:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        os.chdir(place)
        read = prepare(number, place)
        os.write(writable, json.dumps([number, "begun", ""]).encode() + b"\n")
        seen.clear()
        outcome, told = _outcome(read)
        if seen:
            outcome, told = seen[0]
        os.write(writable, json.dumps([number, outcome, told[:600]]).encode() + b"\n")
    os._exit(0)


def _outcome(read: Callable[[], object]) -> tuple[str, str]:
    try:
        read()
    except SystemExit as ending:
        if ending.code in (0, None, 1, 2):
            return ("refused" if ending.code else "success"), ""
        return ("refused" if isinstance(ending.code, str) else "crash"), str(ending.code)
    except MemoryError:
        return "memory", "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
    except Exception as error:
        line = user_message(error)
        if line is None:
            where = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)][-4:]
            return "traceback", f"{type(error).__name__}: {brief(error)} at {' '.join(where)}"
        if "memory left" in line:
            return "memory", line
        return ("several lines", repr(line)) if "\n" in line.strip() else ("refused", line)
    return "success", ""
