"""Plots over the stream: scores, losses and speed of each iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.metric_names import metric_name
from odkd.report import REFERENCE_TITLES, Array, Line, values
from odkd.report.canvas import add_legend, plain, stream_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Okabe and Ito 2008, "Color universal design"; dashes and markers tell the curves apart without colour
CURVES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "^"))
MAX_MARKERS = 60  # with more iterations, only points between gaps get a marker
MAX_RATIO = 20  # between largest and smallest value; above it the axis is logarithmic


def score_figure(lines: Sequence[Line], score: str, label: str, title: str) -> Figure | None:
    """Draw one score over the stream, against teacher and ground truth; one curve if both are equal everywhere."""
    scores = reference_scores(lines, score)
    if not scores:
        return None
    figure, (axes,), unnamed = stream_figure(lines, title, [3.2])
    named = {f"{name} (mean {np.nanmean(found):.3f})": found for name, found in scores.items()}
    add_legend(figure, [*_draw(axes, lines, named), *unnamed])
    axes.set_ylim(0, min(1.0, 1.1 * max(float(np.nanmax(found)) for found in scores.values())) or 1.0)
    axes.set_ylabel(f"{label} (0 to 1)", fontsize=9)
    return figure


def reference_scores(lines: Sequence[Line], score: str) -> dict[str, Array]:
    """Return float64 [iterations] for each known reference; one entry if both references are equal everywhere."""
    against = {REFERENCE_TITLES[name]: metric_name("test", score, name) for name in ("teacher", "groundtruth")}
    scores = _known({title: values(lines, key) for title, key in against.items()})
    first, *others = scores.values() or [np.zeros(0)]
    if others and np.array_equal(first, others[0], equal_nan=True):
        return {"against teacher = ground truth": first}
    return scores


def time_figure(lines: Sequence[Line], reference: str, title: str) -> Figure | None:
    """Draw mIoU on the next frames, on those one sequence earlier and on those one sequence ahead."""
    scopes = {"next frames": "test", "one sequence earlier (BWT)": "past", "one sequence ahead (FWT)": "future"}
    keys = {name: metric_name(scope, "miou", reference) for name, scope in scopes.items()}
    scores = _known({name: values(lines, key) for name, key in keys.items()})
    if len(scores) < 2:
        return None
    figure, (axes,), unnamed = stream_figure(lines, title, [2.8])
    add_legend(figure, [*_draw(axes, lines, scores), *unnamed])
    axes.set_ylim(0, 1.1 * max(float(np.nanmax(found)) for found in scores.values()) or 1.0)
    axes.set_ylabel("mIoU (0 to 1)", fontsize=9)
    return figure


def loss_figure(lines: Sequence[Line], title: str) -> Figure | None:
    """Draw each loss in a separate panel, because their scales differ."""
    keys = dict.fromkeys(key for line in lines for key in line["metrics"] if key.startswith("learn/loss"))
    losses = _known({key.removeprefix("learn/loss_").replace("_", " "): values(lines, key) for key in keys})
    first, *others = losses.values() or [np.zeros(0)]
    if len(others) == 1 and np.array_equal(first, others[0], equal_nan=True):
        losses.pop("total", None)  # equals the only loss
    if not losses:
        return None
    figure, panels, unnamed = stream_figure(lines, title, [2.8 if len(losses) == 1 else 1.6] * len(losses))
    for axes, (name, found) in zip(panels, losses.items(), strict=True):
        _draw(axes, lines, {name: found})
        _scale(axes, {name: found})
        axes.set_ylabel(f"{plain(name)}\n(mean of iteration)", fontsize=9)
    add_legend(figure, unnamed)
    return figure


def speed_figure(lines: Sequence[Line], title: str) -> Figure | None:
    """Draw the frames per second of learning and evaluation.

    Iterations with lost timing are gaps, and so are those without a frame to learn from: they have no speed.
    """
    keys = {"learning": "time/learn_frames_per_second", "evaluation": "time/evaluate_frames_per_second"}
    found = {name: values(lines, key) for name, key in keys.items()}
    rates = _known({name: np.where(rate > 0, rate, np.nan) for name, rate in found.items()})
    if not rates:
        return None
    figure, (axes,), unnamed = stream_figure(lines, title, [2.8])
    named = {f"{name} (median {np.nanmedian(found):.3g})": found for name, found in rates.items()}
    add_legend(figure, [*_draw(axes, lines, named), *unnamed])
    _scale(axes, rates)
    axes.set_ylabel("frames per second", fontsize=9)
    return figure


def _draw(axes: Axes, lines: Sequence[Line], curves: Mapping[str, Array]) -> list[Line2D]:
    """Draw curves with gaps; a point between two gaps always has a marker, or it would be invisible."""
    positions = [line["position"] for line in lines]
    drawn: list[Line2D] = []
    for (name, found), (colour, dash, marker) in zip(curves.items(), CURVES, strict=False):
        gaps = np.concatenate([[True], np.isnan(found), [True]])
        marked = (gaps[:-2] & gaps[2:]) | (len(found) <= MAX_MARKERS)
        style: dict[str, Any] = {
            "color": colour,
            "linestyle": dash,
            "linewidth": 1.5 if len(found) <= MAX_MARKERS else 1.0,
        }
        style |= {"marker": marker if marked.any() else "", "markersize": 3.5}
        drawn += axes.plot(positions, found, label=name, markevery=np.flatnonzero(marked).tolist(), **style)
    axes.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    return drawn


def _scale(axes: Axes, curves: Mapping[str, Array]) -> None:
    found = np.concatenate(list(curves.values()))
    lowest, highest = float(np.nanmin(found)), float(np.nanmax(found))
    if lowest > 0 and highest / lowest > MAX_RATIO:
        axes.set_yscale("log")
    elif lowest >= 0:
        axes.set_ylim(0, 1.1 * highest or 1.0)


def _known(curves: Mapping[str, Array]) -> dict[str, Array]:
    """Return the curves that have at least one finite value."""
    return {name: found for name, found in curves.items() if np.isfinite(found).any()}
