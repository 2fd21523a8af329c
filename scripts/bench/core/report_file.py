"""The file of results, benchmark.json: a run of each case, with its results.

    {"schema": 1, "cases": {"loop": {"date", "seconds", "quick", "commit", "machine", "versions", "load", "results": [
        {"case", "size", "quantity", "unit", "better", "median", "lowest", "highest", "repeats",
         "baseline": {"name", "median"}, "ratio": {"median", "lowest", "highest"}, "limit": {"name", "median"},
         "headline"}]}}}

`baseline`, `ratio` and `limit` are null where there is none. A case that is run again replaces its earlier run.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.core.machine import Load, commit, machine, versions
from bench.core.result import Result
from odkd.common.files import write_json

SCHEMA = 1
Report = dict[str, Any]


def read_report(path: Path) -> Report:
    """Return a file's content.

    Raises:
        ValueError: it is none, or of another schema.
    """
    try:
        report: Report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as results ({error}); `make bench` writes them") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        found = report.get("schema") if isinstance(report, dict) else None
        raise ValueError(f"{path}: results of schema {found}; expected {SCHEMA}: run the benchmark of this version")
    return report


def add_run(path: Path, name: str, results: list[Result], *, seconds: float, quick: bool, load: Load) -> Report:
    """Put the run of a case into the file, which is made if it is missing or of another schema; return its content."""
    try:
        report = read_report(path)
    except ValueError:
        report = {"schema": SCHEMA, "cases": {}}
    report["cases"][name] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "quick": quick,
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "load": asdict(load),
        "results": [result.as_json(name) for result in results],
    }
    report["cases"] = dict(sorted(report["cases"].items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report)
    return report
