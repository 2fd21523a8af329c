"""The preloaded shim of `shim.c`: compiled here, and called by the process that it is preloaded into."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

UNFINISHED = ".mlflow.db.new"  # a database that is being created: the next command deletes it unread
COUNT, BEFORE, AFTER, TORN, FAIL, FAIL_ON, SIGNAL, MEMORY = range(8)


def compiler() -> str | None:
    """Return a C compiler; None where there is none, or where nothing can be preloaded."""
    return (
        (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")) if os.uname().sysname == "Linux" else None
    )


def compiled(folder: Path) -> Path:
    """Compile the shim into a folder, and return its path."""
    found = compiler()
    assert found is not None
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([found, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


class Shim:
    """The shim in this process, which was started with LD_PRELOAD=`library`."""

    def __init__(self, library: Path) -> None:
        assert os.environ.get("LD_PRELOAD") == str(library), "start this process with LD_PRELOAD"
        self._library = ctypes.CDLL(str(library))
        self._library.faults_plan.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self._library.faults_count.restype = ctypes.c_long

    def plan(self, folder: Path, point: int, how: int, number: int = 0, log: int = -1) -> None:
        """Count the changes of files below a folder from now on; at number `point` do what `how` says."""
        self._library.faults_plan(os.fsencode(folder.resolve()), point, how, number, log)

    def turn_clock(self) -> None:
        """Let the time of day go backwards from now on, a second at each look."""
        self._library.faults_turn_clock()
