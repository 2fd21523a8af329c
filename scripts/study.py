"""What the results pages have in common: run odkd's commands a few at a time, write tables into a page."""

import math
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from odkd.files import write_atomic
from odkd.results import Run
from odkd.tables.cells import Cell
from odkd.tables.render import number


def run_all(commands: Iterable[Sequence[str]], *, jobs: int) -> None:
    """Run `odkd` on each list of overrides, `jobs` at a time; what has finished before returns at once.

    Exits with all messages at the end if any failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        if failures := list(filter(None, pool.map(run, commands))):
            sys.exit("\n".join(failures))


def run(command: Sequence[str]) -> str | None:
    """Run odkd; what to tell the user if that failed."""
    done = subprocess.run([sys.executable, "-m", "odkd", *command], capture_output=True, text=True, check=False)
    shown = " ".join(setting for setting in command if not setting.startswith("paths."))
    if done.returncode:
        return f"odkd {shown} failed:\n{done.stderr[-2000:]}"
    score = next(
        (f"  mIoU {line.split()[-2]}" for line in done.stdout.splitlines() if line.startswith("mIoU, mean")), ""
    )
    print(f"{shown}{score}", flush=True)
    return None


def write_parts(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands between the markers `<!-- NAME -->` and `<!-- end -->` of the page.

    Raises:
        ValueError: a name has no such markers.
    """
    text = page.read_text()
    for name, content in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        match = pattern.search(text)
        if match is None:
            raise ValueError(f"{page} has no lines <!-- {name} --> and <!-- end -->; add them where the table belongs")
        text = f"{text[: match.end(1)]}{content}\n{text[match.start(2) :]}"
    write_atomic(page, text.encode())
    print(f"wrote {page}")


def cell(found: Sequence[float], factor: float, digits: int) -> str:
    """`12.3 ± 0.4`: mean and, from two values on, sample standard deviation, without what is undefined."""
    return number(Cell(tuple(factor * value for value in found if not math.isnan(value))), digits)


def values(runs: Mapping[int, Run], key: str) -> list[float]:
    """A number of the summary of each run; NaN where it is undefined."""
    found = [run.summary.get(key) for run in runs.values()]
    return [math.nan if value is None else value for value in found]
