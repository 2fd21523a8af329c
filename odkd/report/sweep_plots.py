"""Figures that compare runs: main effects, pairs of settings, score against cost, scores over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.names import shorten
from odkd.report import values
from odkd.report.canvas import new_figure, plain
from odkd.report.comparison import MAX_LEVELS, Comparison, Configuration, as_number
from odkd.report.entries import Measure
from odkd.report.front import POINT, Point, front_figure, scale_axis
from odkd.report.paper import MAX_CURVES, Curve, draw_curve
from odkd.runs.sweeps.summary import in_brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_A_ROW = 3
POINT_OFFSET = 0.13  # distance of points from the bar of their mean
MIN_CROSSED = 0.5  # share of a heat map's cells that must have a run; with fewer it is not drawn
MEAN = "#0072B2"


def effects_figure(comparison: Comparison, measure: Measure, label: str) -> Figure | None:
    """Draw one panel per factor: means and standard deviations at its values, or a scatter of a continuous factor.

    Points are configurations, and bars are over them; if each value has one configuration, both are over its runs.
    """
    factors = [factor for factor in comparison.factors if len(comparison.levels(factor, measure)) > 1]
    if not factors:
        return None
    num_rows, num_columns = math.ceil(len(factors) / PANELS_A_ROW), min(PANELS_A_ROW, len(factors))
    figure = new_figure(0.4 + 2.9 * num_rows, "", width_inches=1.2 + 3.2 * num_columns)
    panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).ravel().tolist()
    for axes, factor in zip(panels, factors, strict=False):
        _effect(axes, comparison, factor, measure)
    for number, axes in enumerate(panels):
        axes.set_visible(number < len(factors))
        if number % num_columns == 0:
            axes.set_ylabel(label, fontsize=9)
    return figure


def _effect(axes: Axes, comparison: Comparison, factor: str, measure: Measure) -> None:
    if comparison.is_continuous(factor, measure):
        places, found = _points(comparison, factor, measure)
        bars = np.nan_to_num([deviation for _, deviation, _ in found])
        style: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 4, "color": MEAN, "ecolor": "#BBBBBB"}
        axes.errorbar(places, [mean for mean, _, _ in found], bars, elinewidth=1, **style)
        scale_axis(axes, "x", places)
    else:
        _effect_of_levels(axes, comparison, factor, measure)
    axes.set_xlabel(plain(shorten(factor, 34)), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    axes.set_axisbelow(True)


def _effect_of_levels(axes: Axes, comparison: Comparison, factor: str, measure: Measure) -> None:
    levels = comparison.levels(factor, measure)
    is_over_runs = comparison.is_over_runs(factor, measure)
    for place, level in enumerate(levels):
        configurations = comparison.with_levels({factor: level})
        points = [c.statistics(measure)[0] for c in configurations]
        if is_over_runs:
            points = [measure(entry) for c in configurations for entry in c.entries]
        beside = [place - POINT_OFFSET] * len(points)
        axes.plot(beside, points, "o", color=POINT, markersize=4, alpha=0.7, markeredgewidth=0)
    means, deviations, _ = zip(*(comparison.at_level(factor, level, measure) for level in levels), strict=True)
    is_ordered = all(as_number(level) is not None for level in levels)
    is_mixed = is_over_runs and len(comparison.factors) > 1  # other settings differ between the values too: no line
    style: dict[str, Any] = {"color": MEAN, "marker": "s", "markersize": 5, "linewidth": 1.5, "capsize": 3}
    style |= {} if is_ordered and not is_mixed else {"linestyle": ""}
    axes.errorbar(range(len(levels)), means, np.nan_to_num(deviations), **style)
    _name_levels(axes.set_xticks, range(len(levels)), levels)
    axes.set_xlim(-0.5, len(levels) - 0.5)


def _points(
    comparison: Comparison, factor: str, measure: Measure
) -> tuple[list[float], list[tuple[float, float, int]]]:
    """Return the factor's value and the score's statistics over runs, for each configuration with a score."""
    index = comparison.factors.index(factor)
    known = [c for c in comparison.configurations if c.statistics(measure)[2]]
    return [float(c.levels[index]) for c in known], [c.statistics(measure) for c in known]


def pair_figure(comparison: Comparison, rows: str, columns: str, measure: Measure, label: str) -> Figure | None:
    """Draw the mean over all other factors at each pair of values; hatched where there is no run.

    Two continuous factors give a scatter of the configurations. None if too few pairs were run: most cells are
    empty, or there is no more than one per value.
    """
    if comparison.is_continuous(rows, measure) and comparison.is_continuous(columns, measure):
        return _pair_points(comparison, rows, columns, measure, label)
    down, across = comparison.levels(rows, measure), comparison.levels(columns, measure)
    if max(len(down), len(across)) > MAX_LEVELS or min(len(down), len(across)) < 2:
        return None
    table = np.array([[comparison.effect({rows: y, columns: x}, measure)[0] for x in across] for y in down])
    known = np.isfinite(table)
    if known.mean() < MIN_CROSSED or known.sum() <= max(known.shape):
        return None
    figure = new_figure(1.5 + 0.42 * len(down), "", width_inches=3.6 + 0.75 * len(across))
    axes = figure.subplots()
    lowest, highest = float(np.nanmin(table)), float(np.nanmax(table))
    axes.set_facecolor("#E8E8E8")
    axes.patch.set(hatch="////", edgecolor="#8A8A8A")
    image = axes.imshow(np.ma.masked_invalid(table), cmap="viridis", vmin=lowest, vmax=highest, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "black" if value > lowest + 0.6 * (highest - lowest) else "white"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=colour)
    _name_levels(axes.set_xticks, range(len(across)), across)
    _name_levels(axes.set_yticks, range(len(down)), down)
    _finish_pair(figure, axes, image, (rows, columns, label))
    return figure


def _pair_points(comparison: Comparison, rows: str, columns: str, measure: Measure, label: str) -> Figure:
    (y, found), (x, _) = (_points(comparison, factor, measure) for factor in (rows, columns))
    figure = new_figure(3.4, "", width_inches=5.2)
    axes = figure.subplots()
    style: dict[str, Any] = {"cmap": "viridis", "s": 42, "edgecolors": "#444444", "linewidths": 0.6}
    points = axes.scatter(x, y, c=[mean for mean, _, _ in found], **style)
    scale_axis(axes, "x", x)
    scale_axis(axes, "y", y)
    axes.tick_params(labelsize=8)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    _finish_pair(figure, axes, points, (rows, columns, label))
    return figure


def _finish_pair(figure: Figure, axes: Axes, coloured: Any, names: tuple[str, str, str]) -> None:
    """Label the axes and the colours of a figure with (rows, columns, label)."""
    rows, columns, label = names
    axes.set_xlabel(plain(shorten(columns, 40)), fontsize=9)
    axes.set_ylabel(plain(shorten(rows, 26)), fontsize=9)
    bar = figure.colorbar(coloured, ax=axes, pad=0.02, aspect=20)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)


def pareto_figure(
    comparison: Comparison, cost: Measure, cost_label: str, measure: Measure, label: str
) -> Figure | None:
    """Draw configurations by cost and score with deviations over seeds, and the front that none beats in both."""
    points = []
    for configuration in comparison.configurations:
        (spent, spread, _), (scored, deviation, _) = map(configuration.statistics, (cost, measure))
        points.append(Point(str(configuration.number), spent, scored, spread, deviation))
    return front_figure(points, cost_label, label, what="configuration")


def seed_curves(chosen: Sequence[Configuration], key: str) -> list[Curve]:
    """Return a metric over the stream as one curve per configuration; its runs are seeds, cut to the shortest run."""
    curves: list[Curve] = []
    for configuration in chosen[:MAX_CURVES]:
        lines = [entry.run.metrics for entry in configuration.entries if entry.run.metrics]
        length = min(map(len, lines), default=0)
        if length < 2 or any("training" in line for line in lines[0][:1]):
            continue
        found = np.stack([values(line[:length], key) for line in lines])
        if np.isfinite(found).any():
            name = plain(f"{configuration.number}: {shorten(configuration.name, 60)}")
            curves.append(Curve(name, [line["position"] for line in lines[0][:length]], found, style=len(curves)))
    return curves


def curves_figure(curves: Sequence[Curve], label: str) -> Figure:
    """Draw the mean over seeds of each configuration, with a band of one sample standard deviation."""
    figure = new_figure(4.4 + 0.18 * len(curves), "", width_inches=9.0)
    axes = figure.subplots()
    for curve in curves:
        draw_curve(axes, curve)
    axes.set_xlabel("position in the stream (sampled frames)", fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=2 if len(curves) > 2 else 1, fontsize=8, frameon=False)
    return figure


def _name_levels(set_ticks: Any, places: Sequence[float] | range, levels: Sequence[str]) -> None:
    """Write the levels along an axis, rotated if they would not fit side by side."""
    names = [plain(shorten(in_brief(level), 24)) or "–" for level in levels]
    is_long = set_ticks.__name__ == "set_xticks" and sum(map(len, names)) > 34
    set_ticks(places, names, fontsize=8, **({"rotation": 30, "ha": "right"} if is_long else {}))
