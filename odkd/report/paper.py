"""Paper figures that compare methods: a score over the stream, or by a setting; seeds as band or error bars.

The figures are safe for colour-blind readers and readable in grey: each curve has a different dash and marker.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.files import write_atomic
from odkd.report import Array, Line
from odkd.report.canvas import add_legend, new_figure, save, stream_figure
from odkd.report.epochs import COLOURS, curve_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CURVES = len(COLOURS)
MARKERS_A_CURVE = 12
TITLE_LETTERS = 84  # per line


@dataclass(frozen=True)
class Curve:
    """The values of one method: float64 [seeds, points] at the points `at`; NaN where undefined."""

    label: str
    at: Sequence[float]
    values_SN: Array
    style: int = 0  # index of colour, dash and marker: a method looks the same in all figures

    @property
    def mean(self) -> Array:
        """The mean over the seeds that have a value; NaN where none has."""
        return np.array([np.nan if np.isnan(c).all() else np.nanmean(c) for c in self.values_SN.T])

    @property
    def std(self) -> Array:
        """The sample standard deviation over seeds; 0 where fewer than two have a value."""
        return np.array([np.nanstd(c, ddof=1) if (~np.isnan(c)).sum() > 1 else 0.0 for c in self.values_SN.T])


def over_time_figure(
    lines: Sequence[Line], panels: Sequence[tuple[str, Sequence[Curve]]], title: str, note: str = ""
) -> Figure:
    """Draw curves over the stream, one panel per metric: mean over seeds, band of one sample standard deviation.

    Args:
        lines: iterations of one of the runs, with position, domain and time in the stream.
        panels: (label of the y axis, curves); all panels show the same methods.
        title: of the figure.
        note: second line of the x axis label.
    """
    figure, axes, unnamed = stream_figure(
        lines, textwrap.fill(title, TITLE_LETTERS), [3.4 if len(panels) == 1 else 2.6] * len(panels)
    )
    drawn: list[Any] = []
    for axis, (label, curves) in zip(axes, panels, strict=True):
        drawn = [draw_curve(axis, curve) for curve in curves]
        highest = max((float(np.nanmax(c.mean + c.std)) for c in curves if np.isfinite(c.mean).any()), default=1.0)
        axis.set_ylim(0, 1.05 * highest or 1.0)
        axis.set_ylabel(label, fontsize=9)
        axis.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    axes[-1].set_xlabel(axes[-1].get_xlabel() + (f"\n{note}" if note else ""), fontsize=9)
    add_legend(figure, [*drawn, *unnamed])
    return figure


def by_setting_figure(curves: Sequence[Curve], axis: str, label: str, title: str, note: str = "") -> Figure:
    """Draw a score by a setting: mean over seeds with error bars of one sample standard deviation."""
    from matplotlib.ticker import NullFormatter, NullLocator

    figure = new_figure(4.4, textwrap.fill(title, TITLE_LETTERS))
    axes = figure.subplots()
    drawn = [_draw_bars(axes, curve) for curve in curves]
    places = sorted({place for curve in curves for place in curve.at})
    if len(places) > 2 and places[0] == 0 and places[-1] / places[1] >= 8:
        axes.set_xscale("symlog", linthresh=places[1])  # a logarithmic axis has no place for 0
    elif places[0] > 0 and places[-1] / places[0] >= 8:
        axes.set_xscale("log")
    if axes.get_xscale() != "linear":
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlabel(axis + (f"\n{note}" if note else ""), fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#BBBBBB", linewidth=0.5)
    add_legend(figure, drawn)
    return figure


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write STEM.pdf, with selectable text, and STEM.png; equal figures give equal files."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):  # journals refuse Type 3 fonts
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    pdf = stem.with_name(f"{stem.name}.pdf")
    write_atomic(pdf, buffer.getvalue())
    return [pdf, save(figure, stem.with_name(f"{stem.name}.png"))]


def draw_curve(axes: Any, curve: Curve) -> Any:
    """Draw the mean over seeds with a band of one sample standard deviation; return the line."""
    mean, std, style = curve.mean, curve.std, curve_style(curve.style)
    # Curves have their markers at different points, or the markers would hide each other.
    step = max(1, len(mean) // MARKERS_A_CURVE)
    (line,) = axes.plot(curve.at, mean, label=curve.label, markevery=(curve.style % step, step), **style)
    axes.fill_between(curve.at, mean - std, mean + std, color=style["color"], alpha=0.18, linewidth=0)
    return line


def _draw_bars(axes: Any, curve: Curve) -> Any:
    return axes.errorbar(curve.at, curve.mean, yerr=curve.std, label=curve.label, capsize=3, **curve_style(curve.style))
