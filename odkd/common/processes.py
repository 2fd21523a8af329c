"""Processes: which one this is, and whether another one, on this machine, still runs."""

import contextlib
import functools
import os
import platform
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Return what identifies this process: its number and start, and its machine."""
    pid = os.getpid()
    return {"pid": pid, "started": started(pid), **this_machine()}


@functools.cache
def this_machine() -> dict[str, str]:
    """Return what identifies this machine, its boot and its container."""
    facts = {"host": platform.node(), "boot": "", "namespace": ""}
    with contextlib.suppress(OSError):
        facts["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        facts["namespace"] = str(Path("/proc/self/ns/pid").readlink())
    return facts


def started(pid: object) -> str | None:
    """Return the start time of a process of this machine, in the machine's units; None if there is no such process."""
    if not isinstance(pid, int):
        return None
    if Path("/proc/self/stat").is_file():
        try:
            # The name in parentheses may contain spaces; the 20th field after it is the start time.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
