"""The plot of the page: how many times as much as its baseline each headline takes, with its spread."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

LINE_INCHES = 0.3
FASTER, SLOWER = "#1f77b4", "#d62728"


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the ratios of results as an SVG; equal results give equal bytes."""
    names = [" ".join(filter(None, [r["case"], r["size"], r["quantity"]])) for r in results]
    baselines = [r["baseline"]["name"] for r in results]
    with matplotlib.rc_context({"svg.hashsalt": "odkd", "font.size": 8}):
        figure = Figure(figsize=(9, 1 + LINE_INCHES * len(results)), layout="constrained")
        axes = figure.subplots()
        for row, result in enumerate(results):
            # Where more is better, the ratio is turned over: left of the line is always better than the baseline.
            ratio = result["ratio"]
            ends = [ratio["lowest"], ratio["median"], ratio["highest"]]
            if result["better"] == "higher":
                ends = [1 / end for end in reversed(ends)]
            colour = FASTER if ends[1] <= 1 else SLOWER
            axes.plot([ends[0], ends[2]], [row, row], color=colour, linewidth=1.5)
            axes.plot(ends[1], row, "o", color=colour, markersize=4)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(results)), names)
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_xlabel("times its baseline (right); left is better")
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(results)), baselines)
        axes.grid(axis="x", which="major", linewidth=0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
