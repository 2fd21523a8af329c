"""Make all trials under fault, and with --page renew the tables of docs/reliability.md: `make faults`.

python scripts/faults.py [--rounds 0 1 ...] [--kinds] [--only crash|together|fuzz|soak ...] [--page]  (hours)

A round disturbs every point once; each of the 8 rounds, 0 to 7, with another fault there. `--kinds` makes those
faults that no point of its kind (operation and file, without keys and numbers) has had. Both take hours, go on where
they were interrupted, and use all cores. Results go to build/faults: crash-*.jsonl, together.jsonl, fuzz.json,
soak.json. Needs Linux and a C compiler.
"""

import argparse
import contextlib
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
SAMPLE = ["--kills", "45", "--errors", "24", "--endings", "9"]  # for each stage
ENDINGS = ("SIGTERM", "SIGINT", "memory")
SOAK_ITERATIONS = 5000
BEGIN, END = "<!-- measured by make faults: begin -->", "<!-- end -->"


def drive(*commands: Sequence[str]) -> None:
    """Run drivers of the trials side by side, with the shim preloaded."""
    from shim import compiled

    with tempfile.TemporaryDirectory(prefix="odkd-faults-") as work:
        environment = os.environ | {"LD_PRELOAD": str(compiled(Path(work)))}
        driver = [sys.executable, str(FAULTS / "driver.py"), "--work", work]
        started = [subprocess.Popen([*driver, *words], env=environment) for words in commands]
        codes = [process.wait() for process in started]
        assert not any(codes), f"drivers ended with {codes}"


def run(part: str, rounds: Sequence[int], has_kinds: bool = False) -> None:
    """Make the trials of one part, and write its files of results; neither rounds nor kinds: a random sample."""
    if part == "crash":
        trials = [*(["--rounds", *map(str, rounds)] if rounds else []), *(["--kinds"] if has_kinds else [])] or SAMPLE
        cores = len(os.sched_getaffinity(0))
        name = "crash-round-{}.jsonl" if trials is not SAMPLE else "crash-random-{}.jsonl"
        drive(*([*trials, "--part", str(i), str(cores), "--to", str(BUILD / name.format(i))] for i in range(cores)))
    elif part == "together":
        (BUILD / "together.jsonl").unlink(missing_ok=True)
        drive(["--scenarios", "--to", str(BUILD / "together.jsonl")])
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


def lines_of(pattern: str) -> list[dict[str, Any]]:
    """Return the records of the files of JSON lines with such a name; a line that a kill has cut is none."""
    found = []
    for line in (line for path in sorted(BUILD.glob(pattern)) for line in path.read_text().splitlines()):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table in Markdown; columns after the first are aligned to the right."""
    marks = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(map(str, row))} |" for row in (head, marks, *rows)]


def crash_tables(records: list[dict[str, Any]]) -> list[str]:
    """Return the tables of kills, errors and ends: by stage, and by kind."""
    from points import ERRORS, KILLS, faults_of, kind_of
    from shim import UNFINISHED

    points = {record["stage"]: record["points"] for record in records if "points" in record}
    trials = [record for record in records if "how" in record and record["hit"]]
    groups = {"kills": KILLS, "errors": ERRORS, "endings": ENDINGS}
    rows, totals = [], Counter[str]()
    kinds_had = {kind_of(*point): set[str]() for list_ in points.values() for point in list_}
    for trial in trials:
        kinds_had.setdefault(kind_of(*trial["hit"].split(" ", 1)), set()).add(trial["how"])
    num_whole = sum(hows.issuperset(faults_of(kind[0])) for kind, hows in kinds_had.items())
    num_hit = sum(map(bool, kinds_had.values()))
    for stage, list_ in points.items():
        here = [trial for trial in trials if trial["stage"] == stage]
        counts = {
            "points": len(list_),
            "deleted unread": sum(Path(name).name.startswith(UNFINISHED) for _, name in list_),
            "hit": len({trial["point"] for trial in here}),
            **{name: sum(trial["how"] in hows for trial in here) for name, hows in groups.items()},
            "broken": sum(bool(trial["faults"]) for trial in here),
        }
        totals.update(counts)
        rows.append([stage, *counts.values()])
    head = [
        "stage",
        "points",
        "deleted unread",
        "points hit",
        "kills",
        "errors",
        "signals, no memory",
        "promises broken",
    ]
    lines = table(head, [*rows, ["**all**", *totals.values()]])
    kinds = Counter(trial["how"] for trial in trials)
    broken = Counter(trial["how"] for trial in trials if trial["faults"])
    return [
        *lines,
        "",
        *table(["fault", "trials", "promises broken"], [[k, kinds[k], broken[k]] for k in sorted(kinds)]),
        "",
        f"Points are of {len(kinds_had)} kinds (operation and file, without keys and numbers): {num_hit} had a fault, "
        f"{num_whole} each kill and each error that is possible there.",
    ]


def measured() -> dict[str, list[str]]:
    """Return all tables that the files of results give, by the title of their section."""
    found: dict[str, list[str]] = {}
    if records := lines_of("crash-*.jsonl"):
        found["Kills, errors, signals"] = crash_tables(records)
    if records := lines_of("together.jsonl"):
        states = [[r["scenario"], r.get("skipped") or len(r["faults"]) or "none"] for r in records]
        found["Two at once, clocks, rights"] = table(["scenario", "promises broken"], states)
    if (path := BUILD / "fuzz.json").is_file():
        counts = json.loads(path.read_text())
        names = list(next(iter(counts.values())))
        total = [sum(values[name] for values in counts.values()) for name in names]
        rows = [[reader, *values.values()] for reader, values in counts.items()]
        head = ["reader", *(name.replace("_", " ") for name in names)]
        found["Damaged and odd inputs"] = table(head, [*rows, ["**all**", *total]])
    if (path := BUILD / "soak.json").is_file():
        rows = [[name.replace("_", " "), value] for name, value in json.loads(path.read_text()).items()]
        found["A long run"] = table(["seen", "value"], rows)
    return found


def renew(page: Path) -> None:
    """Put the tables into the page, between its marks; a section without new results stays as it is."""
    before, _, rest = page.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    sections = {text.partition("\n")[0]: text.partition("\n")[2].strip() for text in old.split("### ")[1:]}
    sections |= {title: "\n".join(lines) for title, lines in measured().items()}
    body = "".join(f"### {title}\n\n{text}\n\n" for title, text in sections.items())
    page.write_text(f"{before}{BEGIN}\n\n{body}{END}{after}")


def num_broken() -> int:
    """Return in how many trials a promise was broken."""
    records = lines_of("crash-*.jsonl") + lines_of("together.jsonl")
    return sum(bool(record.get("faults")) for record in records)


def main() -> int:
    """Run the parts and renew the page; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, nargs="+", default=[], help="every point once for each of these, 0 to 7")
    parser.add_argument("--kinds", action="store_true", help="every kill and error that no point of its kind has had")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--page", action="store_true", help="renew the tables of docs/reliability.md")
    parser.add_argument("--no-trials", action="store_true", help="only tables, from the results of before")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    for part in () if args.no_trials else args.only:
        print(part, flush=True)
        run(part, args.rounds, args.kinds)
    if args.page:
        renew(PAGE)
    for trial in lines_of("crash-*.jsonl") + lines_of("together.jsonl"):
        if trial.get("faults"):
            print(json.dumps(trial))
    return 1 if num_broken() else 0


if __name__ == "__main__":
    sys.exit(main())
