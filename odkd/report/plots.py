"""Plots of a run: colour-blind safe, readable in grey print; an undefined value is a gap or hatched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from odkd.common.names import shorten
from odkd.common.renamed import current_reference
from odkd.report import GROUNDTRUTH, Array, Line, values
from odkd.report.canvas import add_legend, new_figure, plain, position_edges, save, stream_figure
from odkd.report.epochs import epoch_figures
from odkd.report.segments import segment_figure
from odkd.runs.results import Run, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Okabe and Ito 2008, "Color universal design"; dashes and markers say the same without colour
CURVES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "^"))
UNDEFINED: dict[str, Any] = {"facecolor": "#E8E8E8", "edgecolor": "#8A8A8A", "hatch": "////", "linewidth": 0}
MAX_MARKERS = 60  # with more iterations, only points between gaps get a marker
MAX_NUMBERS = 15  # classes up to which the confusion matrix has its percentages written in
CONFUSIONS = {  # matrix of confusion.npz -> end of the file's name, the reference in words
    "teacher": ("", "the teacher"),
    "groundtruth": (GROUNDTRUTH, "ground truth"),
    "previous_round": ("_previous_round", "the previous round"),
}
MAX_RATIO = 20  # between largest and smallest value; beyond it the axis is logarithmic


def plot_run(run_folder: Path, classes: Sequence[str], summary: Mapping[str, float | None] | None = None) -> list[Path]:
    """Draws what the run folder holds data for into its plots/ and returns the files.

    Args:
        run_folder: with metrics.jsonl; timing.jsonl and confusion.npz add their plots.
        classes: names, in the order of the class ids.
        summary: the final scores, where the run's summary.json is not written yet.
    """
    run = read_run(run_folder)
    figures = run_figures(run, classes, run.summary if summary is None else summary)
    return [save(figure, run_folder / "plots" / f"{stem}.png") for stem, figure in figures.items()]


def run_figures(run: Run, classes: Sequence[str], summary: Mapping[str, float | None]) -> dict[str, Figure]:
    """Every figure that a run has data for, by file name; the titles begin with `run_title(run)` and a colon."""
    name, lines = run_title(run), run.metrics
    if lines and "training" in lines[0]:
        figures = epoch_figures(lines, summary, name)
    else:
        figures = stream_figures(lines, classes, summary, name)
    confusions = read_confusions(run.folder)
    student = "teacher" if run.stage == "label" else "student"  # whose classes are the columns
    for key, (suffix, reference) in CONFUSIONS.items():
        if key in confusions and confusions[key].any():
            title = f"{name}: {student} against {reference}, all scored frames"
            figures[f"confusion{suffix}"] = confusion_figure(confusions[key], classes, reference, student, title)
    return {stem: figure for stem, figure in figures.items() if figure}


def run_title(run: Run) -> str:
    """What titles call a run."""
    return shorten(run.name, 40)


def read_confusions(run_folder: Path) -> dict[str, NDArray[np.int64]]:
    """int64 [K, K] by reference, rows = reference; nothing where the run has none."""
    if not (run_folder / "confusion.npz").is_file():
        return {}
    with np.load(run_folder / "confusion.npz") as arrays:
        return {current_reference(name): array for name, array in arrays.items()}


def stream_figures(
    lines: Sequence[Line], classes: Sequence[str], summary: Mapping[str, float | None], name: str
) -> dict[str, Figure | None]:
    """Figures over a stream by file name; None where there is nothing to draw."""
    if not lines:
        return {}
    figures: dict[str, Figure | None] = {
        "miou": score_figure(lines, "miou", "mIoU", f"{name}: mIoU on the next frames"),
        "accuracy": score_figure(lines, "accuracy", "pixel accuracy", f"{name}: pixel accuracy on the next frames"),
        "losses": loss_figure(lines, f"{name}: losses"),
        "speed": speed_figure(lines, f"{name}: speed"),
    }
    for suffix, reference in list(CONFUSIONS.values())[:2]:
        figures[f"past_future{suffix}"] = time_figure(lines, suffix, f"{name}: mIoU against {reference}, now and then")
        title = f"{name}: mIoU on each segment, against {reference}"
        figures[f"segments{suffix}"] = segment_figure(lines, summary, suffix, title)
        title = f"{name}: IoU of each class against {reference}"
        figures[f"class_iou{suffix}"] = class_figure(lines, classes, suffix, title)
    return figures


def class_iou_table(lines: Sequence[Line], classes: Sequence[str], suffix: str = "") -> Array:
    """Returns float64 [classes, iterations]; NaN where neither reference nor student has the class."""
    found = [values(lines, f"test/iou{suffix}/{name}") for name in classes]
    return np.stack(found) if found else np.zeros((0, len(lines)))


def row_shares(confusion: NDArray[np.int64]) -> Array:
    """Returns each count as a share of its row, float64 [K, K]; NaN in rows of classes the reference lacks.

    >>> row_shares(np.array([[3, 1], [0, 0]]))
    array([[0.75, 0.25],
           [ nan,  nan]])
    """
    totals = confusion.sum(axis=1, keepdims=True).astype(np.float64)
    totals[totals == 0] = np.nan
    shares: Array = confusion / totals
    return shares


def score_figure(lines: Sequence[Line], score: str, label: str, title: str) -> Figure | None:
    """Draws one score over the stream, against the teacher and against ground truth; once where both are the same."""
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
    """Returns float64 [iterations] by reference, as far as it is known; one entry where both are equal everywhere."""
    against = {"against teacher": f"test/{score}", "against ground truth": f"test/{score}{GROUNDTRUTH}"}
    scores = _known({name: values(lines, key) for name, key in against.items()})
    first, *others = scores.values() or [np.zeros(0)]
    if others and np.array_equal(first, others[0], equal_nan=True):
        return {"against teacher = ground truth": first}
    return scores


def time_figure(lines: Sequence[Line], suffix: str, title: str) -> Figure | None:
    """Draws mIoU on the next frames, on those one sequence earlier and on those one sequence ahead."""
    keys = {"next frames": "test", "one sequence earlier (BWT)": "past", "one sequence ahead (FWT)": "future"}
    scores = _known({name: values(lines, f"{scope}/miou{suffix}") for name, scope in keys.items()})
    if len(scores) < 2:
        return None
    figure, (axes,), unnamed = stream_figure(lines, title, [2.8])
    add_legend(figure, [*_draw(axes, lines, scores), *unnamed])
    axes.set_ylim(0, 1.1 * max(float(np.nanmax(found)) for found in scores.values()) or 1.0)
    axes.set_ylabel("mIoU (0 to 1)", fontsize=9)
    return figure


def loss_figure(lines: Sequence[Line], title: str) -> Figure | None:
    """Draws each loss in a panel of its own: their scales differ."""
    keys = dict.fromkeys(key for line in lines for key in line["metrics"] if key.startswith("learn/loss"))
    losses = _known({key.removeprefix("learn/loss_").replace("_", " "): values(lines, key) for key in keys})
    first, *others = losses.values() or [np.zeros(0)]
    if len(others) == 1 and np.array_equal(first, others[0], equal_nan=True):
        losses.pop("total", None)  # the total of one loss is that loss
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
    """Draws the frames per second of learning and evaluation; iterations whose timing is lost are gaps."""
    keys = {"learning": "time/learn_frames_per_second", "evaluation": "time/evaluate_frames_per_second"}
    rates = _known({name: values(lines, key) for name, key in keys.items()})
    if not rates:
        return None
    figure, (axes,), unnamed = stream_figure(lines, title, [2.8])
    named = {f"{name} (median {np.nanmedian(found):.3g})": found for name, found in rates.items()}
    add_legend(figure, [*_draw(axes, lines, named), *unnamed])
    _scale(axes, rates)
    axes.set_ylabel("frames per second", fontsize=9)
    return figure


def class_figure(lines: Sequence[Line], classes: Sequence[str], suffix: str, title: str) -> Figure | None:
    """Draws IoU as a heat map class x iteration, hatched where neither map has the class."""
    from matplotlib.patches import Patch

    table = class_iou_table(lines, classes, suffix)
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


def confusion_figure(
    confusion: NDArray[np.int64], classes: Sequence[str], reference: str, student: str, title: str
) -> Figure:
    """Draws a confusion matrix as per cent of each row, without classes that neither map has; not empty."""
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
    axes.set_xlabel(f"class given by the {student}", fontsize=9)
    axes.set_ylabel(f"class given by {reference}, and its share of all pixels", fontsize=9)
    for row, column in np.argwhere(np.isfinite(percent)) if has_numbers else ():
        value = percent[row, column]
        colour = "white" if value > 55 else "black" if value >= 0.5 else "#9A9A9A"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    _add_colour_bar(figure, image, "per cent of the row")
    return figure


def _draw(axes: Axes, lines: Sequence[Line], curves: Mapping[str, Array]) -> list[Line2D]:
    """Draws curves with gaps; a point between two gaps always has a marker, or it would not be seen."""
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


def _add_colour_bar(figure: Figure, image: Any, label: str) -> None:
    shrink = min(1.0, 5 / figure.get_figheight())  # beside the first rows of a very high figure
    bar = figure.colorbar(image, ax=figure.axes, pad=0.01, aspect=25, fraction=0.04, shrink=shrink, anchor=(0, 1))
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _known(curves: Mapping[str, Array]) -> dict[str, Array]:
    return {name: found for name, found in curves.items() if np.isfinite(found).any()}
