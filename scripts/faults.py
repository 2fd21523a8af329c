"""Make all trials under fault, and with --page renew the tables of docs/reliability.md: `make faults`.

python scripts/faults.py [--every] [--only crash|together|fuzz|soak ...] [--page]  (hours; --every: a day)

Results go to build/faults: crash.jsonl, together.jsonl, fuzz.json, soak.json. Needs Linux and a C compiler.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FAULTS, BUILD, PAGE = ROOT / "tests" / "faults", ROOT / "build" / "faults", ROOT / "docs" / "reliability.md"
sys.path[:0] = [str(FAULTS), str(ROOT / "tests" / "helpers")]
PARTS = ("crash", "together", "fuzz", "soak")
SAMPLE = ["--kills", "45", "--errors", "24", "--endings", "9"]  # for each of 13 stages: 585 kills
KILLS, ENDINGS = ("before", "after", "torn"), ("SIGTERM", "SIGINT", "memory")
SOAK_ITERATIONS = 5000
BEGIN, END = "<!-- measured by make faults: begin -->", "<!-- end -->"


def drive(to: Path, arguments: Sequence[str]) -> None:
    """Run the driver of the trials, with the shim preloaded."""
    from shim import compiled

    to.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="odkd-faults-") as work:
        environment = os.environ | {"LD_PRELOAD": str(compiled(Path(work)))}
        command = [sys.executable, str(FAULTS / "driver.py"), *arguments, "--to", str(to), "--work", work]
        subprocess.run(command, env=environment, check=True)


def run(part: str, *, every: bool) -> None:
    """Make the trials of one part, and write its file of results."""
    if part == "crash":
        drive(BUILD / "crash.jsonl", ["--endings", "50"] if every else SAMPLE)
    elif part == "together":
        drive(BUILD / "together.jsonl", ["--scenarios"])
    elif part == "fuzz":
        if not (ROOT / "tests" / "fuzz").is_dir():
            print("no tests/fuzz here")
            return
        subprocess.run([sys.executable, "-m", "pytest", "-m", "", "--timeout", "0", "tests/fuzz"], cwd=ROOT, check=True)
    else:
        from soak import soak

        with tempfile.TemporaryDirectory(prefix="odkd-soak-") as folder:
            found = soak(Path(folder), SOAK_ITERATIONS)
        (BUILD / "soak.json").write_text(json.dumps(found, indent=1) + "\n")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table in Markdown; columns after the first are aligned to the right."""
    marks = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(map(str, row))} |" for row in (head, marks, *rows)]


def crash_tables(records: list[dict[str, Any]]) -> list[str]:
    """Return the tables of kills, errors and ends: by stage, and by kind."""
    points = {record["stage"]: record["points"] for record in records if "points" in record}
    trials = [record for record in records if "how" in record and record["hit"]]
    rows, totals = [], Counter[str]()
    for stage, list_ in points.items():
        here = [trial for trial in trials if trial["stage"] == stage]
        counts = {
            "points": len(list_),
            "hit": len({trial["point"] for trial in here}),
            **{name: sum(trial["how"] in kinds for trial in here) for name, kinds in KINDS.items()},
            "broken": sum(bool(trial["faults"]) for trial in here),
        }
        totals.update(counts)
        rows.append([stage, *counts.values()])
    head = ["stage", "points", "points hit", "kills", "errors", "signals, no memory", "promises broken"]
    lines = table(head, [*rows, ["**all**", *totals.values()]])
    kinds = Counter(trial["how"] for trial in trials)
    broken = Counter(trial["how"] for trial in trials if trial["faults"])
    return [
        *lines,
        "",
        *table(["fault", "trials", "promises broken"], [[k, kinds[k], broken[k]] for k in sorted(kinds)]),
    ]


KINDS = {
    "kills": KILLS,
    "errors": ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EMFILE"),
    "endings": ENDINGS,
}


def measured() -> list[str]:
    """Return all tables that the files of results give."""
    lines: list[str] = []
    if records := lines_of(BUILD / "crash.jsonl"):
        lines += ["### Kills, errors, signals", "", *crash_tables(records), ""]
    if records := lines_of(BUILD / "together.jsonl"):
        states = [[r["scenario"], r.get("skipped") or len(r["faults"]) or "none"] for r in records]
        lines += ["### Two at once, clocks, rights", "", *table(["scenario", "promises broken"], states), ""]
    if (path := BUILD / "fuzz.json").is_file():
        found = json.loads(path.read_text())
        rows = [[name, *(values.values() if isinstance(values, dict) else [values])] for name, values in found.items()]
        names = next((list(values) for values in found.values() if isinstance(values, dict)), ["count"])
        lines += ["### Damaged and odd inputs", "", *table(["reader", *names], rows), ""]
    if (path := BUILD / "soak.json").is_file():
        rows = [[name.replace("_", " "), value] for name, value in json.loads(path.read_text()).items()]
        lines += ["### A long run", "", *table(["seen", "value"], rows), ""]
    return lines


def renew(page: Path) -> None:
    """Put the tables into the page, between its marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + BEGIN, "", *measured(), END]) + after)


def num_broken() -> int:
    """Return in how many trials a promise was broken."""
    records = lines_of(BUILD / "crash.jsonl") + lines_of(BUILD / "together.jsonl")
    return sum(bool(record.get("faults")) for record in records)


def main() -> int:
    """Run the parts and renew the page; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", action="store_true", help="every point with every fault, not a random sample")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--page", action="store_true", help="renew the tables of docs/reliability.md")
    parser.add_argument("--no-trials", action="store_true", help="only tables, from the results of before")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    for part in () if args.no_trials else args.only:
        print(part, flush=True)
        run(part, every=args.every)
    if args.page:
        renew(PAGE)
    for trial in lines_of(BUILD / "crash.jsonl") + lines_of(BUILD / "together.jsonl"):
        if trial.get("faults"):
            print(json.dumps(trial))
    return 1 if num_broken() else 0


if __name__ == "__main__":
    sys.exit(main())
