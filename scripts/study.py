"""What the results pages have in common: run odkd's commands a few at a time, write tables into a page."""

import argparse
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from odkd.common.files import write_atomic
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.report.tables.cells import Cell
from odkd.report.tables.render import number
from odkd.runs.results import Run, read_run

ROOT = Path(__file__).resolve().parents[1]


def options(description: str | None, page: str, chosen: str, tables: Sequence[str]) -> argparse.ArgumentParser:
    """The options of a page's script; `chosen` is the one that picks `tables`, all by default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=ROOT / "../shared/camvid", help="folder of CamVid")
    parser.add_argument(f"--{chosen}", nargs="+", choices=tables, default=list(tables))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where the runs are")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / page)
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    return parser


def need_camvid(camvid: Path, otherwise: str) -> None:
    """Exits with a message if CamVid is not there; `otherwise` is the option that does without it."""
    if not (camvid / "videos").is_dir():
        sys.exit(f"no {camvid}/videos: give the folder of CamVid with --camvid, or {otherwise}")


def folder_of(command: Sequence[str]) -> Path:
    """Of the run that a list of overrides makes, or has made."""
    return Parts(compose_config(command)).folder


def finished_run(command: Sequence[str]) -> Run | None:
    """The run that a list of overrides has made, if it has finished."""
    folder = folder_of(command)
    return read_run(folder) if (folder / "summary.json").is_file() else None


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
