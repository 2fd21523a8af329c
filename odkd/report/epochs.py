"""Plots of trainings over epochs: loss and validation mIoU of each student, scores of each round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.metric_names import metric_name
from odkd.report import REFERENCE_TITLES, Line, labels_of, round_of, student_names, student_title
from odkd.report.canvas import add_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito 2008; dashes and markers tell the curves apart without colour. One style per student, repeated after 8
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def curve_style(number: int) -> dict[str, Any]:
    """Return colour, dash and marker of a curve."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": STYLES[number % len(STYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def epoch_figures(lines: Sequence[Line], summary: Mapping[str, float | None], name: str) -> dict[str, Figure | None]:
    """Return the figures by file name; None if there is nothing to draw."""
    figures: dict[str, Figure | None] = {
        "losses": curve_figure(lines, "loss_total", "loss (mean of epoch)", f"{name}: loss"),
        "rounds": round_figure(summary, f"{name}: mIoU on the test split"),
    }
    for reference, title in REFERENCE_TITLES.items():
        heading = f"{name}: validation mIoU {title}"
        key = metric_name("val", "miou", reference)
        figures[key.replace("/", "_")] = curve_figure(lines, key, "mIoU (0 to 1)", heading)
    return figures


def curve_figure(lines: Sequence[Line], key: str, label: str, title: str) -> Figure | None:
    """Draw one metric of every training by epoch, with a ring at its highest mIoU.

    The ring marks the kept epoch only if the run chose by this score. A loss has no ring.
    """
    from matplotlib.ticker import MaxNLocator

    curves: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        value = line["metrics"].get(f"{line['training']}/{key}")
        if value is not None:
            epochs, found = curves.setdefault(line["training"], ([], []))
            epochs.append(line["epoch"] + 1)
            found.append(value)
    if not curves:
        return None
    figure = new_figure(4.2, title)
    axes = figure.subplots()
    drawn = []
    for number, (training, (epochs, found)) in enumerate(curves.items()):
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": STYLES[number % len(STYLES)],
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 3.5,
            "linewidth": 1.5,
        }
        drawn += axes.plot(epochs, found, label=student_title(training), **style)
        if "miou" in key:
            best = int(np.argmax(found))
            axes.plot(epochs[best], found[best], "o", markersize=9, fillstyle="none", color=style["color"])
    axes.set_xlabel("epoch" + ("; a ring marks the highest score" if "miou" in key else ""), fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#BBBBBB", linewidth=0.5)
    add_legend(figure, drawn)
    return figure


def round_figure(summary: Mapping[str, float | None], title: str) -> Figure | None:
    """Draw bars of the mIoU of the teacher, of each student, and of the training labels of each round."""
    rows: dict[str, float] = {}
    for name in ("teacher", *student_names(summary)):
        of_labels = summary.get(metric_name(labels_of(name), "miou", "groundtruth"))
        of_student = summary.get(metric_name(name, "miou", "groundtruth"))
        if of_labels is not None:
            rows.setdefault(f"labels of {student_title(round_of(name))}", of_labels)
        if of_student is not None:
            rows[student_title(name)] = of_student
    if len(rows) < 2 or all(map(math.isnan, rows.values())):
        return None
    figure = new_figure(1.4 + 0.32 * len(rows), title)
    axes = figure.subplots()
    for row, (name, value) in enumerate(rows.items()):
        style: dict[str, Any] = {"color": "#BBBBBB", "hatch": "//"} if name.startswith("labels") else {}
        axes.barh(row, value, **({"color": COLOURS[0]} | style))
        axes.text(value, row, f" {value:.3f}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(rows.values()) or 1.0)
    axes.set_xlabel("mIoU against ground truth (0 to 1); labels: on the training split", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
