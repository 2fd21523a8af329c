"""The report: one JSON file, and one Markdown page that says first whether each part passed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu.result import Cell, Figure, show

DRY = (
    "**A dry run on the CPU, not a measurement.** It shows that every part works here. Sizes are small, no time means "
    "anything, and figures that only a GPU can show have no verdict."
)


@dataclass(frozen=True)
class Outcome:
    """How a part ended.

    Args:
        status: passed | missed (a figure) | failed (an error) | timeout | skipped.
        reason: of a status that is neither passed nor missed.
        log: the last lines of its output, for a failure.
    """

    name: str
    question: str
    status: str
    seconds: float
    reason: str = ""
    log: str = ""
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def missed(self) -> list[Figure]:
        """The figures that are not what they must be."""
        return [figure for figure in self.found.get("figures", []) if figure.is_ok is False]


def status_of(found: dict[str, Any], code: int | None) -> str:
    """Return the status of a part that ended with this exit code; None = it ran past its time."""
    if code is None:
        return "timeout"
    if code != 0:
        return "failed"
    return "missed" if any(figure.is_ok is False for figure in found["figures"]) else "passed"


def complaints(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line by name for each figure that is missed, and for each part that has failed."""
    lines: list[str] = []
    for outcome in outcomes:
        lines += [f"{outcome.name}: {figure.text()}" for figure in outcome.missed]
        if outcome.status in ("failed", "timeout"):
            lines.append(f"{outcome.name} {'failed' if outcome.status == 'failed' else 'timed out'}: {outcome.reason}")
    return lines


def write_report(folder: Path, about: dict[str, Cell], outcomes: Sequence[Outcome], *, is_dry: bool) -> None:
    """Write gpu.json and gpu.md; called after each part, so that a cut-off check leaves what it has found."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        outcome.name: {
            "status": outcome.status,
            "seconds": round(outcome.seconds, 1),
            "reason": outcome.reason,
            **outcome.found,
            "figures": [asdict(figure) for figure in outcome.found.get("figures", [])],
        }
        for outcome in outcomes
    }
    content = {"format": 1, "is_dry_run": is_dry, "about": about, "complaints": complaints(outcomes), "parts": parts}
    for name, text in {
        "gpu.json": json.dumps(content, indent=1) + "\n",
        "gpu.md": page(about, outcomes, is_dry=is_dry),
    }.items():
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text)
        temporary.replace(folder / name)


def page(about: dict[str, Cell], outcomes: Sequence[Outcome], *, is_dry: bool) -> str:
    """Return the Markdown page."""
    blocks = ["# GPU check", *([DRY] if is_dry else [])]
    blocks.append("; ".join(f"{name} {show(value)}" for name, value in about.items()))
    summary: list[dict[str, Cell]] = [
        {"part": o.name, "question": o.question, "result": o.status, "seconds": o.seconds} for o in outcomes
    ]
    blocks.append(markdown_table(summary))
    if lines := complaints(outcomes):
        blocks.append("\n".join(["Not as it must be:", "", *(f"* {line}" for line in lines)]))
    for outcome in outcomes:
        blocks += _section(outcome)
    return "\n\n".join(blocks) + "\n"


def _section(outcome: Outcome) -> list[str]:
    blocks = [f"## {outcome.name}: {outcome.status}", outcome.question]
    if outcome.reason:
        blocks.append(outcome.reason)
    figures: list[dict[str, Cell]] = [
        {
            "figure": figure.name,
            "value": f"{show(figure.value)} {figure.unit}".strip(),
            "must be": figure.bound,
            "": {True: "ok", False: "MISSED", None: ""}[figure.is_ok],
            "remark": figure.remark,
        }
        for figure in outcome.found.get("figures", [])
    ]
    if figures:
        blocks.append(markdown_table(figures))
    for name, rows in outcome.found.get("tables", {}).items():
        blocks += [f"### {name}", markdown_table(rows)]
    blocks += outcome.found.get("notes", [])
    if left_out := outcome.found.get("left_out"):
        blocks.append("\n".join(["Left out:", "", *(f"* {line}" for line in left_out)]))
    if outcome.log:
        blocks.append(f"```\n{outcome.log}\n```")
    return blocks


def markdown_table(rows: Sequence[dict[str, Cell]]) -> str:
    """Return rows as a Markdown table; its columns are those of all rows, in the order in which they occur.

    >>> print(markdown_table([{"a": 1, "b": 0.5}, {"a": 2, "c": "x"}]))
    | a | b | c |
    |---|---|---|
    | 1 | 0.500 |  |
    | 2 |  | x |
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[show(row.get(column)).replace("|", "/") for column in columns] for row in rows]
    texts = ["| " + " | ".join(line) + " |" for line in lines]
    texts[1] = texts[1].replace(" ", "")
    return "\n".join(texts)
