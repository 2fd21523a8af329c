"""The same run twice, and once more killed (kill -9) and continued by the same command: equal bits in all of them."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from gpu.loop import Case, settings
from gpu.place import Place
from gpu.result import Result

COMPARED = ("metrics.jsonl", "summary.json", "student.safetensors", "confusion.npz")
NO_KERNEL = re.compile(r"(\S+) does not have a deterministic implementation")
LINES_BEFORE_KILL = 3  # metrics lines
CASE, CASE_DRY = Case((180, 320), 20, 10, 6), Case((32, 64), 5, 5, 5)


@dataclass(frozen=True)
class Study:
    """A run that is repeated."""

    name: str
    settings: tuple[str, ...]


STUDIES = (
    Study("TinyNet, float32", ("precision=float32",)),
    Study(
        "Unet ResNet-18, bfloat16, uniform replay, derpp, augmentation",
        (
            *("student=smp", "precision=bfloat16", "channels_last=true", "replay=uniform", "replay.capacity=15"),
            *("regularizer=derpp", "augmentation=flip_scale_crop"),
        ),
    ),
)


def measure(place: Place, result: Result) -> None:
    """Start all runs side by side, kill one of each study, continue it, and compare."""
    case = CASE_DRY if place.is_dry else CASE
    studies = STUDIES[:1] if place.is_dry else STUDIES
    if place.is_dry:
        result.leave_out(STUDIES[1].name, "takes too long on a CPU")
    made = settings(place, case)
    runs = {(n, how): Run(place, f"{n}-{how}", [*made, *s.settings]) for n, s in enumerate(studies) for how in "abk"}
    # The first process renders the video and labels it in one place for all.
    for run in runs.values():
        run.start()
    for number in range(len(studies)):
        result.row("kill -9", study=studies[number].name, **{"after line": runs[number, "k"].kill()})
        runs[number, "k"].start()
    for (number, how), run in runs.items():
        if problem := run.end():
            result.note(f"{studies[number].name}, run {how}: {problem}")
    for number, study in enumerate(studies):
        first, second, killed = (runs[number, how] for how in "abk")
        for name, other in {"a second run": second, "a killed and continued run": killed}.items():
            differing = first.differences(other)
            remark = f"differ: {', '.join(differing)}" if differing else ""
            result.figure(f"files with other bits in {name}, {study.name}", len(differing), at_most=0, remark=remark)
        for kernel in sorted(first.without_deterministic_kernel()):
            result.row("operations that torch has no deterministic kernel for", study=study.name, operation=kernel)


class Run:
    """One run of odkd in a folder of its own, by the same command each time."""

    def __init__(self, place: Place, name: str, overrides: list[str]) -> None:
        self._outputs = place.folder / name
        self._log = place.folder / f"{name}.txt"
        labels = f"paths.labels={place.folder / f'{name}-labels'}"
        paths = [f"paths.outputs={self._outputs}", labels, "deterministic=true", "run.checkpoint_overhead=1e9"]
        ends = ["run.plots=false", "run.report=false", "run.overlay_video=false"]
        self._command = [sys.executable, "-m", "odkd", *overrides, *paths, *ends]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ, "MPLBACKEND": "agg"}
            )

    def kill(self) -> int:
        """Kill the process after some iterations; return the lines that it has published, 0 if it ended before."""
        assert self._process is not None
        while self._process.poll() is None and len(self._lines()) < LINES_BEFORE_KILL:
            time.sleep(0.005)
        self._process.send_signal(signal.SIGKILL)
        return len(self._lines()) if self._process.wait() == -signal.SIGKILL else 0

    def end(self) -> str:
        """Wait for the end of the process; return what went wrong, if anything."""
        assert self._process is not None
        if self._process.wait() == 0:
            return ""
        lines = self._log.read_text().strip().splitlines()
        return f"ended with code {self._process.returncode}: {lines[-1] if lines else ''}"

    def differences(self, other: "Run") -> list[str]:
        """Return the files that differ from those of another run, or are missing."""
        ours, theirs = self._digests(), other._digests()
        return [name for name in sorted(ours | theirs) if ours.get(name) is None or ours.get(name) != theirs.get(name)]

    def without_deterministic_kernel(self) -> set[str]:
        """Return the operations of which torch has warned."""
        return set(NO_KERNEL.findall(self._log.read_text()))

    def _digests(self) -> dict[str, str | None]:
        (folder,) = list(self._outputs.glob("runs/*")) or [self._outputs / "no run"]
        files = {name: folder / name for name in COMPARED}
        for path in sorted(folder.glob("predictions/c/**/*")):
            if path.is_file():
                files[str(path.relative_to(folder))] = path
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            for name, path in files.items()
        }

    def _lines(self) -> list[str]:
        return [line for path in self._outputs.glob("runs/*/metrics.jsonl") for line in path.read_text().splitlines()]
