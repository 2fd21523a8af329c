"""All plots of a run: colour-blind safe, readable in grey print; an undefined value is a gap or hatched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from odkd.common.arrays import names_in, read_npz
from odkd.common.files import check_own, write_atomic
from odkd.common.metric_names import REFERENCES
from odkd.common.names import shorten
from odkd.common.pictures import UNREADABLE
from odkd.common.reading import brief, read_bytes, shown
from odkd.common.renamed import current_reference
from odkd.report import Line, without_time
from odkd.report.class_plots import class_figure, confusion_figure
from odkd.report.drawing import Drawing, draw
from odkd.report.epochs import epoch_figures
from odkd.report.segments import segment_figure
from odkd.report.settings import settings_of
from odkd.report.stream_plots import loss_figure, score_figure, speed_figure, time_figure
from odkd.runs.results import Run, read_run
from odkd.runs.run_file import verify

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Label source of a confusion matrix -> what titles call it. File names end with the suffix of the metric names.
SOURCES = {"teacher": "the teacher", "groundtruth": "ground truth", "previous_round": "the previous round"}
STREAM_SOURCES = ("teacher", "groundtruth")  # the label sources that a stream is scored against


def plot_run(run_folder: Path, classes: Sequence[str], summary: Mapping[str, float | None] | None = None) -> list[Path]:
    """Draw every plot that the run folder has data for into its plots/ and return the files.

    Args:
        run_folder: has metrics.jsonl; timing.jsonl and confusion.npz add their plots.
        classes: names, in the order of the class ids.
        summary: the final scores, if the run's summary.json is not written yet.
    """
    run = read_run(run_folder)
    figures = run_figures(run, classes, run.summary if summary is None else summary)
    return [write_plot(run_folder, stem, draw(figure)) for stem, figure in figures.items()]


def write_plot(run_folder: Path, stem: str, drawing: Drawing) -> Path:
    """Write a drawn figure into plots/ of a run folder and return the file."""
    path = run_folder / "plots" / f"{stem}.png"
    check_own(run_folder, path)
    write_atomic(path, drawing.png(with_title=True))
    return path


def run_figures(run: Run, classes: Sequence[str], summary: Mapping[str, float | None]) -> dict[str, Figure]:
    """Return every figure that a run has data for, by file name; titles begin with `run_title(run)` and a colon."""
    name, lines = run_title(run), run.metrics
    if "dataset.pictures" in settings_of(run):
        lines = without_time(lines)
    if lines and "training" in lines[0]:
        figures = epoch_figures(lines, summary, name)
    else:
        figures = stream_figures(lines, classes, summary, name)
    confusions = read_confusions(run.folder)
    predictor = "teacher" if run.stage == "label" else "student"  # gives the columns
    for reference, source in SOURCES.items():
        if reference in confusions and confusions[reference].any():
            title = f"{name}: {predictor} against {source}, all scored frames"
            figure = confusion_figure(confusions[reference], classes, source, predictor, title)
            figures[f"confusion{REFERENCES[reference]}"] = figure
    return {stem: figure for stem, figure in figures.items() if figure}


def run_title(run: Run) -> str:
    """Return the name of a run as figure titles show it."""
    return shorten(run.name, 40)


def read_confusions(run_folder: Path) -> dict[str, NDArray[np.int64]]:
    """Return int64 [K, K] by reference, whose classes are the rows; empty if the run has no confusion matrix.

    Raises:
        ValueError: the file was changed since the run finished.
    """
    verify(run_folder, ["confusion.npz"])
    if not (run_folder / "confusion.npz").is_file():
        return {}
    path = run_folder / "confusion.npz"
    try:
        content = read_bytes(path)
        found = {name: read_npz(content, name) for name in names_in(content)}
        squares = (a.ndim == 2 and a.shape[0] == a.shape[1] and a.dtype.kind in "iu" for a in found.values())
        if not all(squares):
            raise ValueError("expected square tables of whole numbers")
    except UNREADABLE as error:
        raise ValueError(f"{shown(path)} is damaged ({brief(error)}); delete it") from error
    return {current_reference(name): array for name, array in found.items()}


def stream_figures(
    lines: Sequence[Line], classes: Sequence[str], summary: Mapping[str, float | None], name: str
) -> dict[str, Figure | None]:
    """Return the figures of a stream by file name; None if there is nothing to draw."""
    if not lines:
        return {}
    figures: dict[str, Figure | None] = {
        "miou": score_figure(lines, "miou", "mIoU", f"{name}: mIoU on the next frames"),
        "accuracy": score_figure(lines, "accuracy", "pixel accuracy", f"{name}: pixel accuracy on the next frames"),
        "losses": loss_figure(lines, f"{name}: losses"),
        "speed": speed_figure(lines, f"{name}: speed"),
    }
    for reference in STREAM_SOURCES:
        suffix, source = REFERENCES[reference], SOURCES[reference]
        title = f"{name}: mIoU against {source} on next, earlier and later frames"
        figures[f"past_future{suffix}"] = time_figure(lines, reference, title)
        title = f"{name}: mIoU on each segment, against {source}"
        figures[f"segments{suffix}"] = segment_figure(lines, summary, reference, title)
        title = f"{name}: IoU of each class against {source}"
        figures[f"class_iou{suffix}"] = class_figure(lines, classes, reference, title)
    return figures
