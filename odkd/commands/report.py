"""Console script `odkd-report`: write report.html of runs and sweeps, or one page that compares any runs."""

import difflib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import log_to_console, say
from odkd.common.ending import one_line
from odkd.common.errors import line_of
from odkd.common.names import counted
from odkd.common.progress import tracked
from odkd.common.reading import brief
from odkd.report.html_run import NAME, write_run_report
from odkd.report.html_sweep import write_runs_report, write_sweep_report
from odkd.report.settings import settings_of
from odkd.runs.results import read_run
from odkd.runs.sync import mark_if_killed

KINDS = ("runs", "sweeps")  # folders below that of all outputs


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages, print their paths and exit: with code 1 if one could not be written, 2 for wrong arguments."""
    parser = Arguments(
        prog="odkd-report",
        description="Write report.html, a single file that can be mailed, into run folders and sweep folders.",
    )
    add_version(parser)
    parser.add_argument("folder", type=Path, nargs="*", help="run or sweep folders, such as outputs/runs/NAME-KEY")
    parser.add_argument("--runs", type=Path, nargs="+", metavar="FOLDER", help="compare these runs on one page")
    parser.add_argument("--output", type=Path, metavar="FILE", help="path of that page (default: report.html)")
    parser.add_argument(
        "--stills",
        action="store_true",
        help="make stills of runs without any; needs their videos and labels, and decodes frames that are not stored",
    )
    args = parser.parse_args(arguments)
    if not args.folder and not args.runs:
        parser.error("name run or sweep folders, or several runs with --runs")
    if args.output and not args.runs:
        parser.error("--output is for the page of --runs; the page of a folder is written into the folder")
    log_to_console(logging.WARNING)
    pages = tracked(args.folder, "wrote", "pages")
    num_failed = sum(not _write_page(folder, with_stills=args.stills) for folder in pages)
    if args.runs:
        with one_line("odkd-report", mistake=1):
            output = args.output or Path(NAME)
            if not output.is_dir():  # which is reported first
                _check_runs(args.runs)
            say(write_runs_report(args.runs, output))
    raise SystemExit(1 if num_failed else 0)


def _check_runs(folders: Sequence[Path]) -> None:
    """Check that each folder is that of a run; raise ValueError with what is there instead, and the nearest run."""
    for folder in folders:
        if not (folder / "run.json").is_file():
            raise ValueError(_nothing_here(folder))
        if (folder / "sweep.json").is_file():
            raise ValueError(f"{folder} is a sweep, and --runs compares runs; its page:  odkd-report {folder}")


def _nothing_here(folder: Path) -> str:
    """Return that a path is no run or sweep, how many there are nearby, and the one with the most similar name."""
    what = "is neither a run nor a sweep" if folder.exists() else "does not exist"
    for outputs in (folder, folder.parent.parent, Path("outputs")):  # all outputs; their runs or sweeps
        runs, sweeps = ([path.parent for path in sorted((outputs / kind).glob("*/run.json"))] for kind in KINDS)
        if runs or sweeps:
            break
    else:
        return f"{folder} {what}; expected a run folder, such as outputs/runs/NAME-KEY; there is none in {Path.cwd()}"
    known = {path.name: path for path in (*runs, *sweeps)}
    similar = [name for name in known if folder.name in name] or difflib.get_close_matches(folder.name, known, 1, 0.0)
    there = f"{counted(len(runs), 'run')} and {counted(len(sweeps), 'sweep')}"
    return f"{folder} {what}; expected a run folder; {outputs} has {there}, most similar: {known[similar[0]]}"


def _write_page(folder: Path, *, with_stills: bool) -> bool:
    """Write the page of one folder; print the error and return False if that fails."""
    try:
        if not (folder / "run.json").is_file() and not (folder / "sweep.json").is_file():
            say(f"odkd-report: {_nothing_here(folder)}", file=sys.stderr)
            return False
        if (folder / "sweep.json").is_file():
            say(write_sweep_report(folder))
            return True
        mark_if_killed(folder)
        if with_stills and (folder / "run.json").is_file() and not (folder / "stills" / "stills.json").is_file():
            make_stills(folder)
        say(write_run_report(folder, plots=settings_of(read_run(folder)).get("run.plots") != "false"))
    except Exception as error:
        if (line := line_of(error) or (brief(error) if isinstance(error, ValueError | KeyError) else None)) is None:
            raise
        say(f"odkd-report: {folder}: {line}", file=sys.stderr)
        return False
    return True


def make_stills(run_folder: Path) -> None:
    """Write the stills/ of a finished run that has none, from its predictions, frames and stored labels.

    Raises:
        ValueError: its frames or labels no longer exist.
    """
    from odkd.config.stored_parts import parts_of_run
    from odkd.report.run_stills import write_run_stills
    from odkd.runs.run import OpenRun
    from odkd.runs.run_file import read_record

    parts = parts_of_run(run_folder)
    cfg = parts.cfg
    if parts.teacher_parts.stores(parts.sampled, parts.stream_parts.planned).missing():
        raise ValueError("no stills: the teacher's labels are no longer stored")
    record = read_record(run_folder)
    write_run_stills(parts, OpenRun(run_folder, record, checkpoint_overhead=cfg.run.checkpoint_overhead))


if __name__ == "__main__":
    main()
