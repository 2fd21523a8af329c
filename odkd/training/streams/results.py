"""What a run along several streams leaves: predictions and a student of each cell; scores of streams and cells."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from odkd.common.files import write_atomic
from odkd.common.metric_names import metric_name
from odkd.data.window import Window
from odkd.evaluation.evaluate import mean_ignoring_nan, score_metrics
from odkd.evaluation.metrics import mean_iou
from odkd.evaluation.watch import MEANS
from odkd.runs.run import OpenRun
from odkd.training.clock.durations import Durations
from odkd.training.costs import summary_of
from odkd.training.iteration import Journal
from odkd.training.streams.cells import Cell
from odkd.training.trainer import student_file, weights_file
from odkd.training.updates.delivery import summary_of_updates


def journals_of(run: OpenRun, cells: Sequence[Cell], window: Window) -> dict[str, Journal]:
    """Return what writes the lines of each cell, and its predictions.

    These are in predictions/ if they are those of the data set's stream, in its order, else in cells/NAME/predictions/.
    """
    is_whole = len(cells) == 1 and cells[0].merged.is_whole
    places = {cell.name: Path() if is_whole else Path("cells") / cell.name for cell in cells}
    journals = {cell.name: Journal(run, cell.merged.stream, window, places[cell.name]) for cell in cells}
    num_lines = sum(journal.last + 1 for journal in journals.values())
    for journal in journals.values():
        journal.last_line = num_lines - 1
    return journals


def save_students(run: OpenRun, cells: Sequence[Cell]) -> None:
    """Write the last student of each cell, students/NAME.safetensors."""
    for cell in cells:
        content = weights_file(cell.state.learner.saved.state_dict())
        run.behind.do(partial(write_atomic, student_file(run.folder, cell.name), content))


def summary_of_cells(run: OpenRun, cells: Sequence[Cell], durations: Durations | None) -> dict[str, float]:
    """Return the final scores: of all frames together, of each cell, and of each stream.

    With one cell they have all that a run along one stream has.

    Args:
        durations: of the clock; None = there is none.
    """
    records = run.records()
    summary: dict[str, float] = {}
    totals = {s: torch.stack([cell.totals[s].sum(0) for cell in cells]).sum(0) for s in cells[0].totals}
    if len(cells) == 1:
        summary = cells[0].state.watch.finish(cells[0].state.learner.evaluated, records)
    else:
        classes = cells[0].state.watch.classes
        for source, total_KK in totals.items():
            found = score_metrics(total_KK[None], classes, "total", source)
            summary |= {name: n for name, n in found.items() if name != metric_name("total", "miou_per_frame", source)}
            for name in MEANS:
                values = [record["metrics"].get(metric_name("test", name, source)) for record in records]
                summary[metric_name("mean", name, source)] = mean_ignoring_nan(values)
    for source in totals:
        for cell in cells:
            total_SKK = cell.totals[source]
            summary[metric_name("cell", "miou", source, cell.name)] = mean_iou(total_SKK.sum(0)).item()
            for stream, total_KK in zip(cell.streams, total_SKK, strict=True):
                summary[metric_name("stream", "miou", source, stream)] = mean_iou(total_KK).item()
    summary["num_iterations"] = len(records)
    run.save_confusions(totals)
    return summary | summary_of_updates(records) | summary_of(records, durations)
