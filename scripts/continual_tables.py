"""Tables, claims and plots of docs/continual.md from finished runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from bench.core.tables import markdown_table
from study import cell, updates, values, write_parts

from odkd.runs.results import Run


@dataclass(frozen=True, eq=False)
class Method:
    """A row of the table; `is_random` is true if its result depends on the seed."""

    name: str
    overrides: list[str] = field(default_factory=list)
    is_random: bool = True


Results = dict[str, dict[str, dict[int, Run]]]  # stream -> name of the method -> seed -> run
COLUMNS = {  # title -> key of the summary, factor, digits
    "mIoU": ("mean/miou", 100, 1),
    "BWT": ("mean_past/miou", 100, 1),
    "FWT": ("mean_future/miou", 100, 1),
    "final BWT": ("mean_last/miou", 100, 1),
    "forgetting": ("segments/forgetting", 100, 1),
    "Lopez-Paz BWT": ("segments/backward_transfer", 100, 1),
    "recovery (iterations)": ("recovery/iterations", 1, 1),
    "mIoU, ground truth": ("mean/miou_groundtruth", 100, 1),
}
AS_MANY_UPDATES, MAS_RELEASED = "memoryless, as many updates as fifo", " + mas as released"  # names of rows
CLAIMS: list[tuple[str, str, list[tuple[str, str]]]] = [  # claim, metric, pairs (better, worse)
    ("FIFO beats memoryless (twice and three times the updates)", "mean/miou", [("fifo", "memoryless")]),
    *(
        ("FIFO beats memoryless, as many updates", metric, [("fifo", AS_MANY_UPDATES)])
        for metric in ("mean/miou", "mean_past/miou", "mean_future/miou", "mean_last/miou")
    ),
    *(
        (f"{name} beats FIFO", metric, [(name, "fifo")])
        for name in ("uniform", "prioritized", "mir")
        for metric in ("mean/miou", "mean_past/miou", "mean_future/miou", "mean_last/miou")
    ),
    ("MIR is the best replay", "mean/miou", [("mir", other) for other in ("uniform", "prioritized", "fifo")]),
    ("MIR is the best replay", "mean_last/miou", [("mir", other) for other in ("uniform", "prioritized", "fifo")]),
    ("MAS hurts", "mean/miou", [("memoryless", "memoryless + mas")]),
    ("MAS as released hurts", "mean/miou", [("memoryless", f"memoryless{MAS_RELEASED}")]),
    ("LwF hurts", "mean/miou", [("memoryless", "memoryless + lwf")]),
    ("MAS hurts on top of replay", "mean/miou", [("uniform", "uniform + mas")]),
    ("MAS as released hurts on top of replay", "mean/miou", [("uniform", f"uniform{MAS_RELEASED}")]),
    ("LwF hurts on top of replay", "mean/miou", [("uniform", "uniform + lwf")]),
    ("ACE helps on top of MIR", "mean/miou", [("mir + ace", "mir")]),
    ("RWalk helps on top of MIR", "mean/miou", [("mir + rwalk", "mir")]),
]
TITLES = {key: title for title, (key, _, _) in COLUMNS.items()}


def write_page(page: Path, found: Results) -> None:
    """Write the tables and the claims into the page."""
    tables = {f"table {stream}": table(rows) for stream, rows in found.items()}
    write_parts(page, tables | {"claims": claims_table(found)})


def table(rows: dict[str, dict[int, Run]]) -> str:
    """Return a table: mean and, from two seeds on, sample standard deviation; learning time relative to FIFO's."""
    plain = seconds(rows.get("fifo", {}))
    lines = [["method", *COLUMNS, "learning time / FIFO's", "updates", "runs"]]
    for name, runs in rows.items():
        cells = [cell(values(runs, key), factor, digits) for key, factor, digits in COLUMNS.values()]
        learns = not math.isnan(seconds(runs))
        share = f"{seconds(runs) / plain:.2f}" if learns and plain == plain else ""
        lines.append([name, *cells, share, updates(runs), str(len(runs))])
    return markdown_table(lines)


def claims_table(found: Results) -> str:
    """Return a table of the differences by claim and stream: mean in points, seeds with the claimed sign."""
    lines = [["the paper says", "measured by", *found]]
    for claim, key, pairs in CLAIMS:
        lines.append([claim, TITLES[key], *(difference(rows, key, pairs) for rows in found.values())])
    return markdown_table(lines)


def difference(rows: dict[str, dict[int, Run]], key: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return the smallest mean difference over the pairs, in points, and how many seeds have its claimed sign.

    No verdict: with three seeds, one cell in eight has all of them on the claimed side by chance. Empty if runs are
    missing.
    """
    differences: list[list[float]] = []
    for better, worse in pairs:
        if better not in rows or worse not in rows:
            return ""
        seeds = sorted(rows[better].keys() & rows[worse].keys())
        scores = [(rows[better][seed].summary.get(key), rows[worse][seed].summary.get(key)) for seed in seeds]
        known = [first - second for first, second in scores if first is not None and second is not None]
        if not known:
            return ""
        differences.append(known)
    smallest = min(differences, key=mean)
    return f"{100 * mean(smallest):+.1f} ({sum(d > 0 for d in smallest)} of {len(smallest)} seeds)"


def seconds(runs: dict[int, Run]) -> float:
    """Return the seconds of choosing and learning per iteration: median of the fastest run; NaN if none learns online.

    Other work on the machine slows some runs down; the fastest run was disturbed least.
    """
    learning = [
        [line["metrics"]["time/learn_seconds"] for line in run.metrics if "learn/loss_total" in line["metrics"]]
        for run in runs.values()
    ]
    known = [median(times) for times in learning if times]
    return min(known) if known else math.nan
