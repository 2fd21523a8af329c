"""Shared code of the scripts that write result pages: run odkd commands in parallel, write tables into a page."""

import argparse
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from odkd.common.files import write_atomic
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.report.tables.cells import Cell
from odkd.report.tables.render import number
from odkd.report.tables.updates import count_updates
from odkd.runs.results import Run, read_run

ROOT = Path(__file__).resolve().parents[1]


def options(description: str | None, page: str, chosen: str, tables: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of a page's script; the option `--CHOSEN` selects among `tables`, all by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=ROOT / "../shared/camvid", help="CamVid folder")
    parser.add_argument(f"--{chosen}", nargs="+", choices=tables, default=list(tables))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="parallel runs, one core each")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="output folder of the runs")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / page)
    parser.add_argument("--tables-only", action="store_true", help="only write the tables of finished runs")
    return parser


def need_camvid(camvid: Path, otherwise: str) -> None:
    """Exit with a message if the CamVid folder is missing; `otherwise` is the option that needs no CamVid."""
    if not (camvid / "videos").is_dir():
        sys.exit(f"no folder {camvid}/videos; set the CamVid folder with --camvid, or use {otherwise}")


def folder_of(command: Sequence[str]) -> Path:
    """Return the run folder that belongs to a list of overrides."""
    return Parts(compose_config(command)).folder


def finished_run(command: Sequence[str]) -> Run | None:
    """Return the finished run of a list of overrides, or None."""
    folder = folder_of(command)
    return read_run(folder) if (folder / "summary.json").is_file() else None


class Planned(Protocol):
    """A run of a study: its command, and the command that trains its teacher, if any."""

    @property
    def command(self) -> Sequence[str]: ...

    @property
    def teacher(self) -> Sequence[str] | None: ...


P = TypeVar("P", bound=Planned)


def finished(jobs: Iterable[P]) -> Iterator[tuple[P, Run]]:
    """Yield the runs that have finished; where a teacher is missing, its run is too."""
    for job in jobs:
        is_taught = job.teacher is None or (folder_of(job.teacher) / "teacher.pth").is_file()
        if is_taught and (run := finished_run(job.command)) is not None:
            yield job, run


def run_all(commands: Iterable[Sequence[str]], *, jobs: int) -> None:
    """Run `odkd` with each list of overrides, `jobs` in parallel; finished runs return at once.

    If any run fails, exit with all messages at the end.
    """
    with ThreadPoolExecutor(jobs) as pool:
        if failures := list(filter(None, pool.map(run, commands))):
            sys.exit("\n".join(failures))


def run(command: Sequence[str]) -> str | None:
    """Run odkd; return the error message if it failed, otherwise None."""
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
    """Replace the text between the markers `<!-- NAME -->` and `<!-- end -->` of the page.

    Raises:
        ValueError: the page has no markers for a name.
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
    """Return `12.3 ± 0.4`: mean and, for two or more values, sample standard deviation; NaN values are ignored."""
    return number(Cell(tuple(factor * value for value in found if not math.isnan(value))), digits)


def values(runs: Mapping[int, Run], key: str) -> list[float]:
    """Return a value of the summary of each run; NaN where it is undefined."""
    found = [run.summary.get(key) for run in runs.values()]
    return [math.nan if value is None else value for value in found]


def updates(runs: Mapping[int, Run], loss: str = "learn/loss_total") -> str:
    """Return the updates of a training in each run, as one number if all agree; empty if it made none."""
    found = set()
    for run in runs.values():
        series = partial(_series, run)
        found.add(count_updates(run.params, series, loss))
    return "" if found == {None} else " / ".join(map(str, sorted(number or 0 for number in found)))


def _series(run: Run, metric: str) -> dict[int, float]:
    return {line["iteration"]: value for line in run.metrics if (value := line["metrics"].get(metric)) is not None}
