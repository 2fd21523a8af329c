"""Peak memory of an `odkd` command on a stream and on a stream ten times as long, by method."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.dataset import make_dataset
from bench.job import overrides

SIZE, WINDOW, NUM_POSITIONS = (176, 320), 10, 200
METHODS = {
    "fifo": [],
    "uniform + derpp": ["replay=uniform", "replay.capacity=50", "regularizer=derpp"],
}


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per method and length; `stream_mib` is the size of all frames and labels."""
    rows: list[dict[str, object]] = []
    for name, settings in METHODS.items():
        peaks: list[float] = []
        for num_positions in (NUM_POSITIONS, 10 * NUM_POSITIONS):
            root = make_dataset(folder, height=SIZE[0], width=SIZE[1], num_frames=num_positions, stride=1)
            own = folder / f"memory-{num_positions}"
            shutil.rmtree(own, ignore_errors=True)  # the measurement includes decoding and labelling
            job = overrides(own, root, size=SIZE, stride=1, learn=WINDOW, test=WINDOW)
            job += [*settings, "precision=bfloat16", "channels_last=true"]
            peaks.append(peak_anonymous_bytes([sys.executable, "-m", "odkd", *job]) / 2**20)
            stream = num_positions * SIZE[0] * SIZE[1] * 4 / 2**20
            row = {"method": name, "positions": num_positions, "stream_mib": stream, "peak_mib": peaks[-1]}
            rows.append({**row, "over_first": peaks[-1] / peaks[0]})
    return rows


def peak_anonymous_bytes(command: list[str]) -> int:
    """Return the peak anonymous resident memory of a process in bytes; file caches do not count."""
    peak = 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
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
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{tail.decode()}")
    return peak
