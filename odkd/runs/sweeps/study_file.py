"""Reading of a search's study.db, which a fault may have damaged, or somebody else written: a fault is one line."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from odkd.common.reading import DamagedFileError, brief, shown
from odkd.runs.reaching import causes


@contextlib.contextmanager
def reading_study(path: Path) -> Iterator[None]:
    """Turn what Optuna and the database raise for an unreadable file into one error; a busy disk stays what it is.

    Raises:
        DamagedFileError: the file is none of this search's.
    """
    try:
        yield
    except Exception as error:
        if any(map(_is_of_system, causes(error))):
            raise
        raise damaged_study(path, brief(error)) from error


def damaged_study(path: Path, what: str) -> DamagedFileError:
    """Return the error for a study.db in which something is wrong."""
    return DamagedFileError(
        f"{shown(path)} is damaged, or that of another search or of another Optuna ({what}); move {shown(path.parent)} "
        "away: the same command begins anew, and takes up the runs that have finished"
    )


def _is_of_system(error: BaseException) -> bool:
    """True for a file that is locked or cannot be opened, and for a full disk; a missing table is damage."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    is_refused = isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR
    return isinstance(error, OSError | MemoryError) or is_refused
