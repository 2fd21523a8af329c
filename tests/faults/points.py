"""Points of a command: the calls that change a file, what may happen there, and which of them are of one kind."""

import re

KILLS = ("before", "after", "torn")  # torn: in the middle of a write
ERRORS = ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EMFILE")
WRITES = ("write", "pwrite", "writev")
OPENS = ("create", "open")
Kind = tuple[str, str]  # operation and file, see `kind_of`


def kind_of(operation: str, name: str) -> Kind:
    """Return a point's kind: its operation and its file, without the run's name, keys and numbers."""
    return operation, re.sub(r"[0-9a-f]{8,}|\d+", "N", re.sub("^/runs/[^/]+", "/runs/R", name))


def kills_of(operation: str) -> list[str]:
    """Return the ways to die at a point: only a write can be torn."""
    return list(KILLS) if operation in WRITES else ["before", "after"]


def errors_of(operation: str) -> list[str]:
    """Return the errors that a point can give: only an open runs out of file handles."""
    return [how for how in ERRORS if how != "EMFILE" or operation in OPENS]


def faults_of(operation: str) -> list[str]:
    """Return the kills and errors of a point; after it the disk is as before the next one: "after" adds nothing."""
    return [how for how in kills_of(operation) if how != "after"] + errors_of(operation)
