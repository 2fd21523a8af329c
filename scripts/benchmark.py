"""`make bench`: the speed and memory of odkd, measured on this machine, with plain baselines and physical limits.

    python scripts/benchmark.py                      all cases but the long ones, about 15 minutes on 2 cores
    python scripts/benchmark.py loop 'de*'           cases by name or glob
    python scripts/benchmark.py --list               the cases: what they ask, their repeats and seconds
    python scripts/benchmark.py --quick              that every case works, in small; the numbers mean little
    python scripts/benchmark.py --compare OLD.json   results against earlier ones; --fail-slower 1.1: exit code 1
    python scripts/benchmark.py --page               tables and plot of docs/performance.md from the results

Tables are printed and written to outputs/benchmark.json (outputs/benchmark-quick.json); a case that is not run keeps
its earlier results there. Videos are rendered on first use, under outputs/cache/benchmark.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench.core.case import SkippedError, case_names, choose, load
from bench.core.compare import change_rows, compare, remarks
from bench.core.machine import LoadWatch, description
from bench.core.page import write_page
from bench.core.report_file import add_run, read_report
from bench.core.tables import result_rows, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code: 1 if a case fails or is slower than the bound."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    results = chosen.outputs / ("benchmark-quick.json" if chosen.quick else "benchmark.json")
    try:
        if chosen.list:
            print(list_of_cases())
            return 0
        if chosen.compare:
            if len(chosen.compare) > 2:
                parser.error("--compare takes one or two files: OLD.json [NEW.json]")
            return show_comparison(chosen.compare[0], chosen.compare[1:2] or [results], chosen.fail_slower)
        if chosen.page:
            write_page(chosen.page, read_report(results))
            print(f"{chosen.page}: written from {results}")
            return 0
        return run_cases(choose(chosen.cases, everything=chosen.all), results, quick=chosen.quick)
    except ValueError as error:
        parser.error(str(error))


def run_cases(names: Sequence[str], results: Path, *, quick: bool) -> int:
    """Run cases in turn, print and keep their results; return 1 if one has failed."""
    folder = (results.parent / "cache" / "benchmark").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    failed, started = [], time.monotonic()
    for name in names:
        watch, began = LoadWatch(), time.monotonic()
        try:
            found = load(name)[1](folder, quick=quick)
        except SkippedError as error:
            print(f"\n{name}: left out: {error}", flush=True)
            continue
        except Exception:
            failed.append(name)
            print(f"\n{name}: failed\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            continue
        load_beside, seconds = watch.stop(), time.monotonic() - began
        run = add_run(results, name, found, seconds=seconds, quick=quick, load=load_beside)["cases"][name]
        print(f"\n{name} ({seconds:.0f} s)\n{text_table(result_rows(run['results']))}", flush=True)
        if load_beside.warning:
            print(f"warning: {load_beside.warning}", flush=True)
    if len(failed) < len(names) and results.is_file():
        newest = max(read_report(results)["cases"].values(), key=lambda run: str(run["date"]))
        print(f"\n{description(newest)}; {time.monotonic() - started:.0f} s; written to {results}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def show_comparison(old_file: Path, new_files: Sequence[Path], bound: float | None) -> int:
    """Print what has changed between two files; return 1 if something is slower than `bound` times the old."""
    old, new = read_report(old_file), read_report(new_files[0])
    changes = compare(old, new)
    for remark in remarks(old, new):
        print(f"note: {remark}")
    print(text_table(change_rows(changes)))
    print("* beyond the spread: lowest and highest of the two files lie apart")
    slower = [change for change in changes if bound is not None and change.is_slower_than(bound)]
    for change in slower:
        print(f"slower than {bound:g} times the old: {' '.join(filter(None, change.name))}", file=sys.stderr)
    return int(bool(slower))


def list_of_cases() -> str:
    """Return a table of all cases."""
    rows = [["case", "repeats", "seconds", "question"]]
    for name in case_names():
        case = load(name)[0]
        rows.append([name, str(case.repeats), f"{case.seconds}{' (long)' if case.is_long else ''}", case.question])
    return text_table(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help="names or globs; default: all but the long cases")
    parser.add_argument("--all", action="store_true", help="the long cases too")
    parser.add_argument("--list", action="store_true", help="show the cases and run none")
    parser.add_argument("--quick", action="store_true", help="run each case in small, to see that it works")
    parser.add_argument("--compare", nargs="+", type=Path, metavar="JSON", help="OLD.json [NEW.json]; runs no case")
    parser.add_argument("--fail-slower", type=float, metavar="TIMES", help="with --compare: exit code 1 beyond this")
    parser.add_argument("--page", nargs="?", type=Path, const=PAGE, metavar="FILE", help="write the page; run no case")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
