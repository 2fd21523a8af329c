"""Plots by class: the IoU of each class over the stream, and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from odkd.common.metric_names import metric_name
from odkd.common.names import shorten
from odkd.report import Array, Line, values
from odkd.report.canvas import add_legend, new_figure, plain, position_edges, stream_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNDEFINED: dict[str, Any] = {"facecolor": "#E8E8E8", "edgecolor": "#8A8A8A", "hatch": "////", "linewidth": 0}
MAX_NUMBERS = 15  # classes up to which the confusion matrix shows its percentages


def class_iou_table(lines: Sequence[Line], classes: Sequence[str], reference: str = "teacher") -> Array:
    """Return float64 [classes, iterations]; NaN if neither reference nor student has the class."""
    found = [values(lines, metric_name("test", "iou", reference, name)) for name in classes]
    return np.stack(found) if found else np.zeros((0, len(lines)))


def class_figure(lines: Sequence[Line], classes: Sequence[str], reference: str, title: str) -> Figure | None:
    """Draw IoU as a heat map class x iteration, hatched where neither map has the class."""
    from matplotlib.patches import Patch

    table = class_iou_table(lines, classes, reference)
    if np.isnan(table).all():
        return None
    size, row_inches = (9, 0.22) if len(classes) <= 25 else (6, 0.1)
    figure, (axes,), unnamed = stream_figure(lines, title, [max(1.2, len(classes) * row_inches)])
    axes.axhspan(0, len(classes), zorder=0.5, **UNDEFINED)
    rows = np.arange(len(classes) + 1)
    cells = np.ma.masked_invalid(table)
    style: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1, "rasterized": True}  # in an SVG: one bitmap
    mesh = axes.pcolormesh(position_edges(lines), rows, cells, **style)
    axes.set_ylim(len(classes), 0)
    axes.set_yticks(rows[:-1] + 0.5, [plain(shorten(name, 24)) for name in classes], fontsize=size)
    _add_colour_bar(figure, mesh, "IoU (0 to 1)")
    if np.isnan(table).any():
        unnamed.append(Patch(label="undefined: the class is in neither map", **UNDEFINED))
    add_legend(figure, unnamed)
    return figure


def row_shares(confusion: NDArray[np.int64]) -> Array:
    """Return each count as a share of its row, float64 [K, K]; NaN in rows of classes the reference lacks.

    >>> row_shares(np.array([[3, 1], [0, 0]]))
    array([[0.75, 0.25],
           [ nan,  nan]])
    """
    totals = confusion.sum(axis=1, keepdims=True).astype(np.float64)
    totals[totals == 0] = np.nan
    shares: Array = confusion / totals
    return shares


def confusion_figure(
    confusion: NDArray[np.int64], classes: Sequence[str], source: str, predictor: str, title: str
) -> Figure:
    """Draw a confusion matrix in per cent of each row, without the classes that neither map has.

    Args:
        confusion: int64 [K, K] with at least one pixel; rows = classes in the labels, columns = predicted classes.
        classes: names, in the order of the class ids.
        source, predictor: what the axes call the source of the labels and the network that predicts.
        title: of the figure.
    """
    occurs = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1)).tolist()
    confusion = confusion[np.ix_(occurs, occurs)]
    percent = 100 * row_shares(confusion)
    num_classes, has_numbers = len(occurs), len(occurs) <= MAX_NUMBERS
    size, cell_inches = (9, 0.42) if has_numbers else (8, 0.2) if num_classes <= 40 else (6, 0.1)
    side = max(3.2, num_classes * cell_inches)
    figure = new_figure(side + 1.6, title, width_inches=side + 3.2)
    axes = figure.subplots()
    axes.set_facecolor(UNDEFINED["facecolor"])
    cells = np.ma.masked_invalid(percent)
    image = axes.imshow(cells, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    names = [plain(shorten(classes[index], 24)) for index in occurs]
    shares = 100 * confusion.sum(axis=1) / confusion.sum()
    labels = [f"{name}  {share:.1f} %" for name, share in zip(names, shares, strict=True)]
    axes.set_xticks(range(num_classes), names, rotation=90, fontsize=size)
    axes.set_yticks(range(num_classes), labels, fontsize=size)
    axes.set_xlabel(f"class predicted by the {predictor}", fontsize=9)
    axes.set_ylabel(f"class according to {source}, and its share of all pixels", fontsize=9)
    if has_numbers:
        _write_numbers(axes, percent)
    _add_colour_bar(figure, image, "per cent of the row")
    return figure


def _write_numbers(axes: Axes, percent: Array) -> None:
    for row, column in np.argwhere(np.isfinite(percent)):
        value = percent[row, column]
        colour = "white" if value > 55 else "black" if value >= 0.5 else "#9A9A9A"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)


def _add_colour_bar(figure: Figure, image: Any, label: str) -> None:
    shrink = min(1.0, 5 / figure.get_figheight())  # beside the first rows of a very high figure
    bar = figure.colorbar(image, ax=figure.axes, pad=0.01, aspect=25, fraction=0.04, shrink=shrink, anchor=(0, 1))
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
