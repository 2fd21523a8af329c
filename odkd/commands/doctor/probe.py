"""A process that imports libraries one by one and tells of each; one that crashes, or hangs, takes only it along.

    python -m odkd.commands.doctor.probe torch cv2

Before each import it prints a line of JSON with its name, afterwards one with what went wrong, if anything, and the
OpenMP runtimes that the process has loaded by then.
"""

import contextlib
import importlib
import io
import json
import re
import sys
import warnings
from pathlib import Path

OPENMP = re.compile(r"lib(gomp|iomp5|omp|vcomp)([-.\d][-.\w]*)?\.(so|dylib)[.\d]*$")


def main() -> None:
    """Import the libraries that the command names."""
    out = sys.stdout
    for library in sys.argv[1:]:
        print(json.dumps({"begin": library}), file=out, flush=True)
        error = None
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    importlib.import_module(library)
            except BaseException as caught:
                error = f"{type(caught).__name__}: {' '.join(str(caught).split())[:300]}"
        print(json.dumps({"end": library, "error": error, "openmp": openmp_runtimes()}), file=out, flush=True)


def openmp_runtimes(maps: Path = Path("/proc/self/maps")) -> list[str]:
    """Return the files of OpenMP runtimes in this process, sorted; empty where the system does not say."""
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return []
    paths = {line[line.index("/") :].removesuffix(" (deleted)") for line in lines if "/" in line}
    return sorted(path for path in paths if OPENMP.search(path))


if __name__ == "__main__":
    main()
