"""Heat map of what is remembered: the student's mIoU on each segment of the stream, after each segment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.metric_names import metric_name
from odkd.common.names import shorten
from odkd.report import Array, Line
from odkd.report.canvas import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERS = 16  # segments up to which each cell shows its number


def segment_table(
    lines: Sequence[Line], summary: Mapping[str, float | None], reference: str = "teacher"
) -> tuple[Array, list[str]]:
    """Return float64 [times, segments] and the name of each time; the last is the end of the stream."""
    prefix, last = (f"{metric_name(scope, 'miou', reference)}/" for scope in ("segment", "last_segment"))
    rows = [
        (f"position {line['position']}", found)
        for line in lines
        if (found := {k: v for k, v in line["metrics"].items() if k.startswith(prefix)})
    ]
    if final := {k: v for k, v in summary.items() if k.startswith(last)}:
        rows.append(("the end of the stream", final))
    table = [[math.nan if value is None else value for _, value in sorted(found.items())] for _, found in rows]
    return np.array(table, dtype=np.float64), [name for name, _ in rows]


def segment_figure(
    lines: Sequence[Line], summary: Mapping[str, float | None], reference: str, title: str
) -> Figure | None:
    """Draw the table; cells right of the black line are segments not reached yet."""
    table, times = segment_table(lines, summary, reference)
    if not table.size or np.isnan(table).all():
        return None
    num_times, num_segments = table.shape
    probed = [line for line in lines if metric_name("segment", "miou", reference, "000") in line["metrics"]]
    # Runs of an early odkd do not record which segments they had learned: assume all, which draws no line.
    learned = [num_segments if (n := line.get("segments_learned")) is None else int(n) for line in probed]
    learned += [num_segments] * (num_times - len(learned))
    highest = math.ceil(10 * float(np.nanmax(table))) / 10  # rounded up: most runs share a colour scale
    domains = _domains(lines, num_segments)
    figure = new_figure(max(2.6, 0.36 * num_times + 1.6), title, width_inches=max(7.0, 0.55 * num_segments + 3.5))
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(table), cmap="viridis", vmin=0, vmax=highest, aspect="auto")
    axes.set_yticks(range(num_times), [f"after {name}" for name in times], fontsize=8)
    ticks = [f"{n}\n{plain(shorten(d, 10))}".strip() for n, d in enumerate(domains)]
    axes.set_xticks(range(num_segments), ticks, fontsize=8)
    axes.set_xlabel("scored segment of the stream" + (", and its domain" if any(domains) else ""), fontsize=9)
    if num_segments <= MAX_NUMBERS:
        for (row, column), value in np.ndenumerate(table):
            colour = "black" if value > 0.6 * highest else "white"
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    style: dict[str, Any] = {"color": "black", "linewidth": 2}
    for row, border in enumerate(learned):  # between learned segments and later ones
        axes.plot([border - 0.5, border - 0.5], [row - 0.5, row + 0.5], **style)
        if row + 1 < num_times:
            axes.plot([border - 0.5, learned[row + 1] - 0.5], [row + 0.5, row + 0.5], **style)
    axes.set_xlim(-0.5, num_segments - 0.5)
    axes.set_ylim(num_times - 0.5, -0.5)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=25)
    bar.set_label("mIoU (0 to 1; cells in per cent)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def _domains(lines: Sequence[Line], num_segments: int) -> list[str]:
    """Return the domain of each segment; "" if no test window lies in it."""
    names = [""] * num_segments
    for line in lines:
        number = line.get("segment")
        if number is not None:  # the window lies in one segment, hence in one domain
            names[number] = line.get("domain") or ""
    return names
