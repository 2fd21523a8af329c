"""A command in a real pseudo-terminal: what it writes, and what a screen shows of it."""

import os
import pty
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

COLUMNS = 120


def in_terminal(
    command: Sequence[str], *, folder: Path, variables: Mapping[str, str] | None = None, stdout: int | None = None
) -> str:
    """Run a command whose stderr, and stdout unless given, is a terminal; return what it wrote there.

    Raises:
        AssertionError: it failed.
    """
    here, there = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(COLUMNS)} | dict(variables or {})
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=stdout or there, stderr=there, cwd=folder, env=environment
    )
    os.close(there)
    parts = []
    while True:
        try:
            part = os.read(here, 2**16)
        except OSError:  # the last process that has the terminal open is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(here)
    text = b"".join(parts).decode()
    assert process.wait() == 0, text
    return text


def screen(written: str) -> list[str]:
    """Return the lines that a terminal shows in the end, as far as bars and logs use it: \\r, \\n, up, erase."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[^\x1b]", written):
        if token == "\n":
            row += 1
            column = 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token == "\x1b[A":
            row = max(0, row - 1)
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif not token.startswith("\x1b"):
            lines[row] = lines[row].ljust(column)[:column] + token + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]
