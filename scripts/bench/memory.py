"""Peak memory of an `odkd` command on a stream and on a stream four times as long, by method."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.dataset import make_dataset
from bench.job import FAST, ONLY_TEST_WINDOWS, SMALL, overrides

CASE = Case(
    question="Does memory grow with the stream?",
    method="Anonymous resident memory (`RssAnon`) of the complete `odkd` command, including decoding and labelling, "
    "read every 10 ms, on a stream and on one four times as long, whose frames and labels alone would fill the limit.",
    repeats=1,
    seconds=70,
)
SIZE, WINDOW, NUM_POSITIONS, TIMES = (96, 160), 10, 300, 4  # queues of frames are full by then
METHODS = {
    "fifo": [],
    "uniform + derpp": ["replay=uniform", "replay.capacity=50", "regularizer=derpp"],
}


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the peak of the long stream against that of the short one, by method."""
    size, num_positions, methods = (SMALL, 20, ["fifo"]) if quick else (SIZE, NUM_POSITIONS, list(METHODS))
    results = []
    for name in methods:
        peaks = [peak_of(folder, size, number, METHODS[name]) for number in (num_positions, TIMES * num_positions)]
        stream = TIMES * num_positions * size[0] * size[1] * 4
        results.append(
            measured(
                f"peak, {TIMES * num_positions} positions, {name}",
                peaks[1:],
                "MiB",
                size=size_name(size),
                scale=2**-20,
                baseline=(f"{num_positions} positions", peaks[:1]),
                limit=("all frames and labels", [stream]),
                headline=name == "fifo",
            )
        )
    return results


def peak_of(folder: Path, size: tuple[int, int], num_positions: int, settings: list[str]) -> int:
    """Return the peak of a job on a stream of so many positions, in bytes."""
    root = make_dataset(folder, height=size[0], width=size[1], num_frames=num_positions, stride=1)
    own = folder / f"memory-{num_positions}"
    shutil.rmtree(own, ignore_errors=True)  # the measurement includes decoding and labelling
    job = overrides(own, root, size=size, stride=1, learn=WINDOW, test=WINDOW)
    return peak_anonymous_bytes([sys.executable, "-m", "odkd", *job, *settings, *FAST, *ONLY_TEST_WINDOWS])


def peak_anonymous_bytes(command: list[str], search: Path | None = None) -> int:
    """Return the peak anonymous resident memory of a process in bytes; file caches do not count.

    Args:
        search: folder in which the process looks for modules, before those of PYTHONPATH.
    """
    peak = 0
    places = [str(search)] * (search is not None) + [os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    # stderr is drained all the time: a full pipe would block the command
    os.set_blocking(process.stderr.fileno(), False)  # type: ignore[union-attr]
    tail = b""
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        if found := re.search(r"RssAnon:\s+(\d+) kB", status):
            peak = max(peak, int(found[1]) * 1024)
        tail = (tail + (process.stderr.read() or b""))[-2000:]  # type: ignore[union-attr]
        time.sleep(0.01)
    process.stderr.close()  # type: ignore[union-attr]
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{tail.decode()}")
    return peak
