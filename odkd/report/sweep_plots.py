"""Figures that compare runs: main effects, pairs of settings, score against cost, scores over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.report import Array, shorten, values
from odkd.report.canvas import new_figure, plain
from odkd.report.comparison import Comparison, Configuration, Measure, as_number, pareto
from odkd.report.epochs import COLOURS, MARKERS, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LEVELS = 12  # values of a factor up to which each has its place on an axis; more are points along it
MAX_CURVES = 8  # styles that are told apart
MAX_RATIO = 20  # between largest and smallest value; beyond it the axis is logarithmic
PANELS_A_ROW = 3
POINT_OFFSET = 0.13  # of points from the bar of their mean
MAX_LABELS = 12  # points that all have their number; of more, those on the front
MIN_CROSSED = 0.5  # share of a heat map's cells that have a run; a map of fewer says nothing of the pair
POINT, MEAN, FRONT = "#8A8A8A", "#0072B2", "#D55E00"


def effects_figure(comparison: Comparison, measure: Measure, label: str) -> Figure | None:
    """Draws a panel a factor: each configuration as a point, mean and standard deviation at each of its values."""
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
    levels = comparison.levels(factor, measure)
    numbers = [as_number(level) for level in levels]
    is_continuous = len(levels) > MAX_LEVELS and None not in numbers
    places = [float(number or 0) for number in numbers] if is_continuous else [float(n) for n in range(len(levels))]
    for place, level in zip(places, levels, strict=True):
        found = [c.statistics(measure)[0] for c in comparison.with_levels({factor: level})]
        beside = place if is_continuous else place - POINT_OFFSET
        axes.plot([beside] * len(found), found, "o", color=POINT, markersize=4, alpha=0.7, markeredgewidth=0)
    if is_continuous:
        if min(places) > 0 and max(places) / min(places) > MAX_RATIO:
            axes.set_xscale("log")
    else:
        means, deviations, _ = zip(*(comparison.effect({factor: level}, measure) for level in levels), strict=True)
        style: dict[str, Any] = {"color": MEAN, "marker": "s", "markersize": 5, "linewidth": 1.5, "capsize": 3}
        is_ordered = None not in numbers
        bars = np.nan_to_num(deviations)
        axes.errorbar(places, means, bars, **(style if is_ordered else style | {"linestyle": ""}))
        _name_levels(axes.set_xticks, places, levels)
        axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_xlabel(plain(shorten(factor, 34)), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    axes.set_axisbelow(True)


def pair_figure(comparison: Comparison, rows: str, columns: str, measure: Measure, label: str) -> Figure | None:
    """Draws the mean over all other factors at each pair of values; hatched where there is no run."""
    down, across = comparison.levels(rows, measure), comparison.levels(columns, measure)
    if max(len(down), len(across)) > MAX_LEVELS or min(len(down), len(across)) < 2:
        return None
    table = np.array([[comparison.effect({rows: y, columns: x}, measure)[0] for x in across] for y in down])
    if np.isfinite(table).mean() < MIN_CROSSED:
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
    axes.set_xlabel(plain(shorten(columns, 40)), fontsize=9)
    axes.set_ylabel(plain(shorten(rows, 26)), fontsize=9)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=20)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def pareto_figure(
    comparison: Comparison, cost: Measure, cost_label: str, measure: Measure, label: str
) -> Figure | None:
    """Draws configurations by cost and score with deviations over seeds; the front is what none beats in both."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    costs = [c.statistics(cost) for c in comparison.configurations]
    scores = [c.statistics(measure) for c in comparison.configurations]
    x, y = np.array([c[0] for c in costs]), np.array([s[0] for s in scores])
    front = pareto(x.tolist(), y.tolist())
    if len(comparison.configurations) < 2 or not front:
        return None
    figure = new_figure(4.0, "", width_inches=7.5)
    axes = figure.subplots()
    errors: dict[str, Any] = {"linestyle": "", "ecolor": "#BBBBBB", "elinewidth": 1, "color": POINT}
    deviations = [np.nan_to_num([found[1] for found in points]) for points in (costs, scores)]
    axes.errorbar(
        x, y, xerr=deviations[0], yerr=deviations[1], marker="o", markersize=5, label="configuration", **errors
    )
    axes.plot(x[front], y[front], drawstyle="steps-post", color=FRONT, linewidth=1.2, linestyle="--")
    axes.plot(x[front], y[front], "D", color=FRONT, markersize=6, zorder=4, label="on the Pareto front")
    known = np.isfinite(x) & np.isfinite(y)
    if x[known].min() > 0 and x[known].max() / x[known].min() > MAX_RATIO:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for index in np.flatnonzero(known).tolist() if known.sum() <= MAX_LABELS else front:
        number = str(comparison.configurations[index].number)
        style: dict[str, Any] = {"fontweight": "bold"} if index in front else {"color": "#555555"}
        axes.annotate(number, (x[index], y[index]), xytext=(5, 4), textcoords="offset points", fontsize=8, **style)
    axes.set_xlabel(cost_label, fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def curves_figure(chosen: Sequence[Configuration], key: str, label: str) -> Figure | None:
    """Draws a metric over the stream, a curve a configuration: the mean of its runs, as far as all of them got."""
    curves: dict[str, tuple[Array, Array]] = {}
    for configuration in chosen[:MAX_CURVES]:
        lines = [entry.run.metrics for entry in configuration.entries if entry.run.metrics]
        length = min(map(len, lines), default=0)
        if length < 2 or any("training" in line for line in lines[0][:1]):
            continue
        found = np.stack([values(line[:length], key) for line in lines])
        known = np.isfinite(found).any(0)
        if known.any():
            mean = np.full(length, np.nan)
            mean[known] = np.nanmean(found[:, known], axis=0)
            positions = np.array([line["position"] for line in lines[0][:length]], np.float64)
            curves[plain(f"{configuration.number}: {shorten(configuration.name, 60)}")] = positions, mean
    if not curves:
        return None
    figure = new_figure(4.4 + 0.18 * len(curves), "", width_inches=9.0)
    axes = figure.subplots()
    for number, (name, (positions, mean)) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": COLOURS[number], "linestyle": STYLES[number % len(STYLES)]}
        every = max(1, len(mean) // 20)
        axes.plot(
            positions, mean, label=name, marker=MARKERS[number], markersize=3.5, markevery=every, linewidth=1.3, **style
        )
    axes.set_xlabel("position in the stream (sampled frames)", fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=2 if len(curves) > 2 else 1, fontsize=8, frameon=False)
    return figure


def _name_levels(set_ticks: Any, places: Sequence[float] | range, levels: Sequence[str]) -> None:
    """Levels along an axis, turned where they would not fit side by side."""
    names = [plain(shorten(level, 24)) or "–" for level in levels]
    is_long = set_ticks.__name__ == "set_xticks" and sum(map(len, names)) > 34
    set_ticks(places, names, fontsize=8, **({"rotation": 30, "ha": "right"} if is_long else {}))
