"""Class frequencies in a teacher's labels, as a plot and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from odkd.common.files import write_atomic
from odkd.common.names import shorten
from odkd.report import Array
from odkd.report.canvas import new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS, FRAMES = "#0072B2", "#D55E00"  # Okabe and Ito 2008
MAX_BARS = 60  # more do not fit on a page; the rarest classes are in the table only


def class_histogram_figure(names: Sequence[str], shares: Array, frame_shares: Array, title: str) -> Figure:
    """Draw each class's share of pixels (log scale: shares span orders of magnitude) and of frames that contain it.

    Args:
        names: of the classes, in the order of their ids.
        shares, frame_shares: float64 [K], 0..1.
        title: of the figure.
    """
    order = np.argsort(-shares, kind="stable")[:MAX_BARS]
    figure = new_figure(1.6 + 0.2 * len(order), title)
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(order))
    percent = 100 * shares[order]
    lowest = percent[percent > 0].min() if (percent > 0).any() else 1.0
    left.barh(rows, np.maximum(percent, 0), color=PIXELS)
    left.set_xscale("log")
    left.set_xlim(lowest / 2, 200)
    left.xaxis.set_major_formatter("{x:g}")
    left.set_xlabel("% of labelled pixels", fontsize=9)
    for row, value in enumerate(percent):
        left.text(max(value, lowest / 2) * 1.05, row, f"{value:.3g}" if value else "never", va="center", fontsize=7)
    right.barh(rows, 100 * frame_shares[order], color=FRAMES)
    right.set_xlim(0, 100)
    right.set_xlabel("% of frames that contain it", fontsize=9)
    left.set_yticks(rows, [plain(shorten(names[i], 24)) for i in order])
    left.invert_yaxis()
    for axes in (left, right):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def class_lines(names: Sequence[str], pixels: np.ndarray, frames: np.ndarray, num_frames: int) -> list[str]:
    """Return a table for a terminal, the most frequent class first; int64 pixels and frames by class id.

    >>> print("\\n".join(class_lines(["road", "sky"], np.array([1, 3]), np.array([1, 2]), 2)))
    class  id  pixels  of labelled  of frames
    sky     1       3     75.0000%    100.00%
    road    0       1     25.0000%     50.00%
    """
    total = max(int(pixels[: len(names)].sum()), 1)
    width = max(map(len, ("class", *names)))
    lines = [f"{'class'.ljust(width)}  {'id':>2}  {'pixels':>{max(len(str(total)), 6)}}  of labelled  of frames"]
    for i in np.argsort(-pixels[: len(names)], kind="stable"):
        share, shown = pixels[i] / total, frames[i] / max(num_frames, 1)
        lines.append(
            f"{names[i].ljust(width)}  {i:>2}  {pixels[i]:>{max(len(str(total)), 6)}}  {share:>11.4%}  {shown:>9.2%}"
        )
    return lines


def write_class_statistics(
    folder: Path, names: Sequence[str], pixels: np.ndarray, frames: np.ndarray, num_frames: int, title: str
) -> list[Path]:
    """Write classes.csv and classes.png into `folder`; int64 [K] pixels and frames of each class."""
    shares = pixels / max(int(pixels.sum()), 1)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "class", "pixels", "share_of_pixels", "frames", "share_of_frames"])
    for i, name in enumerate(names):
        writer.writerow([i, name, int(pixels[i]), shares[i], int(frames[i]), frames[i] / max(num_frames, 1)])
    write_atomic(folder / "classes.csv", text.getvalue().encode())
    figure = class_histogram_figure(names, shares, frames / max(num_frames, 1), title)
    return [folder / "classes.csv", save(figure, folder / "classes.png")]
