"""Points by cost and score, and the front of those that no other beats in both; an axis that suits its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from odkd.report import Array
from odkd.report.canvas import new_figure, plain
from odkd.report.comparison import pareto
from odkd.report.epochs import curve_style
from odkd.runs.sweeps.summary import in_brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_RATIO = 10  # between largest and smallest value; above it the axis is logarithmic
MAX_LABELS = 12  # with more points, only those on the front are named
MAX_DECADES = 2  # a logarithmic axis up to this length also has ticks at 2 and 5
POINT, FRONT = "#8A8A8A", "#D55E00"


@dataclass(frozen=True)
class Point:
    """A configuration or method: means and sample standard deviations over its seeds; NaN where undefined."""

    name: str
    cost: float
    score: float
    cost_deviation: float
    score_deviation: float
    family: str = ""  # points of one family have a colour and a marker of their own, and a line from one to the next


def front_figure(
    points: Sequence[Point], cost_label: str, score_label: str, *, what: str, title: str = ""
) -> Figure | None:
    """Draw points with deviations over seeds, and the front that none beats in both; None for fewer than two points.

    Args:
        points: to draw; without a known cost and score they are left out.
        cost_label, score_label: of the axes.
        what: a point is, for the legend.
        title: of the figure.
    """
    x, y = (np.array([getattr(point, name) for point in points]) for name in ("cost", "score"))
    front = pareto(x.tolist(), y.tolist())
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 2:
        return None
    figure = new_figure(4.0, title, width_inches=7.5)
    axes = figure.subplots()
    errors: dict[str, Any] = {"linestyle": "", "ecolor": "#BBBBBB", "elinewidth": 1, "color": POINT}
    across, up = (
        np.nan_to_num([getattr(point, name) for point in points]) for name in ("cost_deviation", "score_deviation")
    )
    families = list(dict.fromkeys(point.family for point in points))
    for number, family in enumerate(families):
        own = np.flatnonzero(known & np.array([point.family == family for point in points]))
        own = own[np.argsort(x[own], kind="stable")]
        look = {"label": family} | curve_style(number) if family else {"label": what, "marker": "o", "markersize": 5}
        axes.errorbar(x[own], y[own], xerr=across[own], yerr=up[own], **(errors | look))
    is_one = families == [""]
    colour = FRONT if is_one else "#555555"  # a family may have the colour of the front
    marks: dict[str, Any] = {"markersize": 6} if is_one else {"markersize": 11, "markerfacecolor": "none"}
    axes.plot(x[front], y[front], drawstyle="steps-post", color=colour, linewidth=1.2, linestyle="--")
    axes.plot(x[front], y[front], "D", color=colour, zorder=4, label="on the Pareto front", **marks)
    scale_axis(axes, "x", x[known])
    for index in np.flatnonzero(known).tolist() if known.sum() <= MAX_LABELS else front:
        style: dict[str, Any] = {"fontweight": "bold"} if index in front else {"color": "#555555"}
        place: dict[str, Any] = {"xytext": (5, 4), "textcoords": "offset points"}
        axes.annotate(plain(points[index].name), (x[index], y[index]), fontsize=8, **place, **style)
    axes.set_xlabel(cost_label, fontsize=9)
    axes.set_ylabel(score_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=min(5, len(families) + 1), fontsize=9, frameon=False)
    return figure


def scale_axis(axes: Axes, which: Literal["x", "y"], found: Sequence[float] | Array) -> None:
    """Make an axis logarithmic if its values differ by more than MAX_RATIO; write ticks as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    lowest, highest = min(found), max(found)
    if lowest > 0 and highest / lowest > MAX_RATIO:
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest / lowest < 10**MAX_DECADES else (1,)))
        axis.set_minor_formatter(NullFormatter())
    else:
        is_whole = all(float(value).is_integer() for value in found)
        axis.set_major_locator(MaxNLocator(5, integer=is_whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: in_brief(f"{value:.6g}")))
