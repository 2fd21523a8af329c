"""Tables and figure of the study of MCKD's second round (mckd_surface.py), from its finished runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from bench.core.tables import markdown_table
from numpy.typing import NDArray
from study import cell, values

from odkd.report.canvas import new_figure
from odkd.report.tables.significance import tested
from odkd.runs.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Runs = Mapping[tuple[str, str, str], Mapping[int, Run]]  # (setting, error, method) -> seed -> run
Place = tuple[str, str]  # setting, error
PAIR = "MCKD, 2 rounds"  # and plain distillation, in one run
HALF = "plain distillation, half"  # as many updates as the final student of MCKD has
STYLES = {  # kind of error -> colour and marker
    "none": ("#000000", "o"),
    "pixels, 0.3": ("#56B4E9", "s"),
    "pixels, 0.6": ("#0072B2", "s"),
    "regions, 0.3": ("#E69F00", "^"),
    "regions, 0.6": ("#D55E00", "^"),
    "outlines, 8 pixels": ("#009E73", "D"),
    "classes, 0.4": ("#CC79A7", "v"),
}
OTHER = ("#8A5A00", "*")


@dataclass(frozen=True)
class Scores:
    """A cell of the surface: mIoU against ground truth in per cent, float64 [seeds] each.

    Args:
        teacher, pair: of the labels on the training images: the teacher's, and those that the pair hands on.
        student: of a student of the pair, on the test images, as all that follow.
        half: plain distillation with the updates of the final student.
        plain: plain distillation with the updates of all students together.
        mckd: the final student.
    """

    teacher: Array
    pair: Array
    student: Array
    half: Array
    plain: Array
    mckd: Array

    @property
    def gain(self) -> Array:
        """What MCKD gains over plain distillation at equal compute, in points."""
        return self.mckd - self.plain


def scores(found: Runs) -> dict[Place, Scores]:
    """Return the cells of which both runs exist, with the seeds that both have."""
    cells = {}
    for (setting, error, method), runs in found.items():
        half = found.get((setting, error, HALF), {})
        if method == PAIR and (seeds := sorted(runs.keys() & half.keys())):
            cells[setting, error] = Scores(
                teacher=read(runs, seeds, "plain/labels/miou_groundtruth"),
                pair=read(runs, seeds, "final/labels/miou_groundtruth"),
                student=read(runs, seeds, "round_1/student_0/miou_groundtruth"),
                half=read(half, seeds, "final/miou_groundtruth"),
                plain=read(runs, seeds, "plain/miou_groundtruth"),
                mckd=read(runs, seeds, "final/miou_groundtruth"),
            )
    return cells


def read(runs: Mapping[int, Run], seeds: Sequence[int], key: str) -> Array:
    """Return a score of the runs of some seeds in per cent; NaN where it is undefined."""
    return 100 * np.array(values({seed: runs[seed] for seed in seeds}, key))


def arrows(pairs: Mapping[Place, Array]) -> dict[Place, str]:
    """Return an arrow for each difference that is larger than its spread over seeds allows, otherwise "".

    The test is that of `odkd-tables`, corrected over all cells.
    """
    differences = tested({place: tuple(found.tolist()) for place, found in pairs.items()})
    return {place: one.mark for place, one in differences.items()}


def surface(found: Runs) -> str:
    """Return the Markdown table of all cells: mIoU against ground truth in per cent, mean ± deviation over seeds."""
    cells = scores(found)
    marks = arrows({place: one.gain for place, one in cells.items()})
    heads = ["student", "the teacher's errors", "labels: teacher", "labels: pair", "a student of the pair"]
    heads += ["plain, half the updates", "plain", "MCKD", "MCKD - plain", "by the labels", "by fewer updates", "runs"]
    rows = [heads]
    for (setting, error), one in cells.items():
        row = [setting, error]
        row += [shown(part) for part in (one.teacher, one.pair, one.student, one.half, one.plain, one.mckd)]
        row += [f"{shown(one.gain)} {marks[setting, error]}".rstrip()]
        row += [shown(one.mckd - one.half), shown(one.half - one.plain), str(len(one.mckd))]
        rows.append(row)
    return markdown_table(rows)


def methods(found: Runs) -> str:
    """Return the Markdown table of all methods after equal passes over the images: mIoU of the last student.

    A column is a kind of error; it has the seeds that all its methods have.
    """
    rows = dict.fromkeys(place[2] for place in found if place[2] not in (PAIR, HALF))
    places = dict.fromkeys(place[:2] for place in found if place[2] in rows)
    lines = {method: [method] for method in ("plain distillation", PAIR, *rows)}
    heads = [""]
    for place in places:
        of_methods = {method: found.get((*place, method), {}) for method in (PAIR, *rows)}
        seeds = sorted(set.intersection(*(set(runs) for runs in of_methods.values())))
        heads.append(f"{place[1]} (n = {len(seeds)})")
        plain = read(of_methods[PAIR], seeds, "plain/miou_groundtruth")
        lines["plain distillation"].append(shown(plain))
        for method, runs in of_methods.items():
            lines[method].append(shown(read(runs, seeds, "final/miou_groundtruth")))
    return markdown_table([heads, *lines.values()])


def shown(found: Array) -> str:
    """Return `12.3 ± 0.4`."""
    return cell(found.tolist(), 1, 1)


def draw(found: Runs) -> "Figure":
    """Draw MCKD's gain over the quality of labels, a column of panels for each student.

    Above: at equal compute, over the quality of the teacher's labels. Below: at equal updates of the final student,
    over what the pair makes better in the labels.
    """
    from matplotlib.lines import Line2D

    cells = scores(found)
    settings, errors = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    figure = new_figure(6.2, "Two rounds of MCKD against plain distillation", 3.2 * max(len(settings), 2))
    panels = figure.subplots(2, len(settings), sharey="row", squeeze=False)
    for column, setting in enumerate(settings):
        top, bottom = panels[:, column]
        top.set_title(setting.replace(", ", "\n"), fontsize=9)
        top.set_xlabel("mIoU of the teacher's labels (%)", fontsize=8)
        bottom.set_xlabel("labels: pair - teacher (points)", fontsize=8)
        for axes in (top, bottom):
            axes.axhline(0, color="#888888", linewidth=0.8)
            axes.tick_params(labelsize=8)
        bottom.axvline(0, color="#888888", linewidth=0.8)
        for error in errors:
            if (one := cells.get((setting, error))) is not None:
                style = STYLES.get(error, OTHER)
                dot(top, one.teacher, one.gain, style)
                dot(bottom, one.pair - one.teacher, one.mckd - one.half, style)
    panels[0, 0].set_ylabel("MCKD - plain,\nequal compute (points)", fontsize=8)
    panels[1, 0].set_ylabel("MCKD - plain,\nequal updates (points)", fontsize=8)
    handles = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=error)
        for error, (colour, marker) in ((error, STYLES.get(error, OTHER)) for error in errors)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def dot(axes: "Axes", x: Array, y: Array, style: tuple[str, str]) -> None:
    """Draw the mean over seeds, with the sample standard deviations."""
    colour, marker = style
    spread = {"xerr": x.std(ddof=1), "yerr": y.std(ddof=1)} if len(y) > 1 else {}
    looks: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "elinewidth": 0.8}
    axes.errorbar(x.mean(), y.mean(), **spread, **looks)
