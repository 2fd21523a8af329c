"""Commands in forks of this process, which has imported everything: a trial costs what the command does, no more."""

import contextlib
import gc
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stages import Stage

HANG_SECONDS = 300.0  # beyond any pause of a busy machine


class GoOn(BaseException):
    """What a fork raises to leave the loop over the trials: it goes on with the command itself."""


def call(words: Sequence[str]) -> int:
    """Call a command of odkd in this process, and return its exit code."""
    from odkd.__main__ import main as odkd
    from odkd.commands.labels import main as labels
    from odkd.commands.sync import main as sync

    sys.argv = list(words)
    try:
        {"odkd": odkd, "odkd-labels": labels, "odkd-sync": sync}[words[0]]()
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except GoOn:
        raise
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_in_fork(folder: Path, log: Path, job: Callable[[], int]) -> int | None:
    """Run a job in a fork, with its output in `log`; return its exit code, minus its signal, or None if it hung."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            settle(folder, log)
            code = job()
        finally:
            leave(code)
    return wait(child)


def go_on_in_fork(folder: Path, log: Path, prepare: Callable[[], None]) -> int | None:
    """Fork here; the fork goes on with the command that this process has begun. Return as `run_in_fork`."""
    child = os.fork()
    if child == 0:
        settle(folder, log)
        prepare()
        raise GoOn
    return wait(child)


def begin(stage: Stage, trials: Callable[[], None]) -> int:
    """Begin a command; where it would write its first file, make the trials, whose forks go on from there.

    Returns:
        The command's exit code, in a fork that went on; this process ends when the trials do.
    """
    from odkd.commands import job
    from odkd.config import parts
    from odkd.config.compose import default_values
    from odkd.config.known import known_tables

    default_values()  # each is read once in a process
    known_tables()
    gc.collect()
    gc.freeze()  # a job collects garbage; the forks need not go through what was imported here
    perform = job.perform

    def stop_here(*arguments: Any) -> Any:
        job.perform = perform
        settled = parts.settle(arguments[0])  # a third of a tiny command's time, and it writes nothing
        parts.settle = lambda _: settled
        parts.Parts(arguments[0])
        with contextlib.suppress(GoOn):
            trials()
            leave(0)
        return perform(*arguments)

    if stage.is_job:
        job.perform = stop_here
        return call(stage.words)
    with contextlib.suppress(GoOn):
        trials()
        leave(0)
    return call(stage.words)


def settle(folder: Path, log: Path) -> None:
    """Make a fork a process of its own, in its folder, with its output in `log`."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path) != Path.cwd())]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def leave(code: int) -> None:
    """End this fork at once, without what the parent has registered for its own end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(child: int) -> int | None:
    """Return a fork's exit code, minus its signal; None if it hung: it is dead then."""
    deadline = time.monotonic() + HANG_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.004)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def import_all(names: Sequence[str]) -> None:
    """Import modules that a fork has imported; some exist only for a moment, or under another name."""
    for name in names:
        if name not in sys.modules and not name.startswith(("__", "hydra_plugins", "one_layer")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
