"""Whether an error of a tracker says that its place is out of reach for every run, or that it took one run amiss.

A run may come from anybody: what is odd in it must not keep the others from being sent. So the error itself is asked,
and those that caused it; texts, which a run may choose, count only where they change nothing but the number of trials.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

UNUSABLE = ("OperationalError", "DatabaseError")  # of a database as a whole, in each of Python's libraries of databases
OF_SERVERS = {  # MLflow's codes of answers that do not depend on the run
    *("CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND"),
    *("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
}
CLIENTS = ("requests", "urllib3")  # libraries whose errors are those of a connection
FAULT_OF_SERVER = "too many 500 error responses"  # it answers, but for this run it fails
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_unreachable(error: BaseException | None, folder: Path) -> bool:
    """True if the place does not answer, or is unusable for every run; False if it refuses this one.

    Args:
        error: of a pass; None = it gave no answer in time.
        folder: of the run; its own files are none of the place.
    """
    if error is None:
        return True
    chain = list(causes(error))
    if any(FAULT_OF_SERVER in str(cause) for cause in chain):
        return False
    return any(_is_of_place(cause, folder.absolute()) for cause in chain)


def is_damaged(error: BaseException | None) -> bool:
    """True if a SQLite file is damaged, or is none: no other fault is mended by moving it away."""
    chain = () if error is None else causes(error)
    codes = (getattr(cause, "sqlite_errorcode", 0) & 0xFF for cause in chain if isinstance(cause, sqlite3.Error))
    return any(code in DAMAGE for code in codes)


def _is_of_place(error: BaseException, folder: Path) -> bool:
    if getattr(error, "error_code", None) in OF_SERVERS or type(error).__name__ in UNUSABLE:
        return True
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.partition(".")[0] in CLIENTS:
        return True
    if re.search(r"out-of-date database schema", str(error)):
        return True
    if not isinstance(error, OSError) or error.errno is None:  # a picture that cannot be read is one without a number
        return False
    files = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
    return not files or any(not file.absolute().is_relative_to(folder) for file in files)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
