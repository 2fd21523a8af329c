"""Figures of a sweep's page with captions: effects, pairs, score against cost, scores over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter

from odkd.report import GROUNDTRUTH, REFERENCES
from odkd.report.comparison import Comparison
from odkd.report.entries import Measure
from odkd.report.html import Picture, embed
from odkd.report.paper import MAX_CURVES
from odkd.report.sweep_plots import curves_figure, effects_figure, pair_figure, pareto_figure, seed_curves

MAX_PAIRS = 6  # heat maps, of the factors with the largest effects
EVALUATION_MATTERS = ("student", "precision", "channels_last", "fast_forms", "compile", "device", "dataset.size")
learn_seconds: Measure = attrgetter("learn_seconds")
evaluate_milliseconds: Measure = attrgetter("evaluate_milliseconds")


def student_score(key: str) -> Measure:
    """Return a measure of a score that is NaN for runs that score the teacher."""
    return lambda entry: math.nan if entry.is_reference else entry.score(key)


def effect_pictures(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Return a figure with one panel per factor for each drawn score."""
    pictures = []
    for key in drawn:
        figure = effects_figure(comparison, student_score(key), f"{metrics[key]}\n(0 to 1)")
        if figure is not None:
            alt = f"One panel per setting with {metrics[key]} at each of its values; the numbers are in the tables."
            note = effects_note(comparison, student_score(key))
            pictures.append(embed(figure, alt=alt, title=metrics[key], note=note))
    return pictures


def effects_note(comparison: Comparison, measure: Measure) -> str:
    """Explain the points and bars in the panels of the factors, which may differ between panels."""
    kinds: dict[str, list[str]] = {}
    for factor in comparison.factors:
        if len(comparison.levels(factor, measure)) > 1:
            is_scatter = comparison.is_continuous(factor, measure)
            kind = "scatter" if is_scatter else "runs" if comparison.is_over_runs(factor, measure) else "configurations"
            kinds.setdefault(kind, []).append(factor)
    has_seeds = any(c.statistics(measure)[2] > 1 for c in comparison.configurations)
    of_runs = "each value has one configuration of one run, so there are no bars."
    of_points = "each point is a configuration."
    if has_seeds:
        of_runs = (
            "each value has one configuration: grey points are its runs, squares with bars are mean ± sample standard "
            "deviation over them."
        )
        of_points = "each point is a configuration, with a bar of ± sample standard deviation over its runs."
    texts = {
        "configurations": "grey points are configurations (mean over their runs), squares with bars are mean ± sample "
        "standard deviation over all configurations with that value, whatever their other settings.",
        "runs": of_runs,
        "scatter": of_points,
    }
    notes = [(f"{', '.join(kinds[kind])}: " if len(kinds) > 1 else "") + texts[kind] for kind in texts if kind in kinds]
    return " ".join(note[0].upper() + note[1:] if len(kinds) == 1 else note for note in notes)


def pair_pictures(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Return figures of pairs of factors, largest effects first: heat maps, or scatter plots of continuous factors."""

    def span(factor: str) -> float:
        by = student_score(drawn[0])
        means = [comparison.effect({factor: level}, by)[0] for level in comparison.levels(factor, by)]
        return max(means) - min(means) if means else 0.0

    pictures: list[Picture] = []
    factors = sorted(comparison.factors, key=span, reverse=True) if drawn else []
    for rows, columns in itertools.combinations(factors, 2):
        if len(pictures) == MAX_PAIRS:
            break
        if len(comparison.levels(rows)) > len(comparison.levels(columns)):
            rows, columns = columns, rows  # wider than high
        figure = pair_figure(comparison, rows, columns, student_score(drawn[0]), metrics[drawn[0]])
        if figure is not None:
            title, by = f"{rows} and {columns}", student_score(drawn[0])
            is_scatter = all(comparison.is_continuous(factor, by) for factor in (rows, columns))
            note = "Each point is a configuration; its colour is the mean over its runs." if is_scatter else ""
            alt = f"{'Scatter plot' if is_scatter else 'Heat map'}: {metrics[drawn[0]]} by {title}"
            pictures.append(embed(figure, alt=alt, title=title, note=note))
    return pictures


def cost_pictures(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Return the score against learning time, and against prediction time if the network or its input differs."""
    costs = [(learn_seconds, "learning time of the run (s)", "cost of learning")]
    if any(factor.startswith(EVALUATION_MATTERS) for factor in comparison.factors):
        costs.append((evaluate_milliseconds, "evaluation time (ms per frame)", "cost of prediction"))
    pictures = []
    for key in drawn[:1]:
        for measure, label, title in costs:
            figure = pareto_figure(comparison, measure, label, student_score(key), f"{metrics[key]} (0 to 1)")
            if figure is not None:
                title = f"{metrics[key]}, by {title}"
                alt = f"Scatter plot: {title}. Numbers refer to the table of configurations."
                pictures.append(embed(figure, alt=alt, title=title))
    return pictures


def curve_pictures(comparison: Comparison, drawn: Sequence[str]) -> list[Picture]:
    """Return the chart of scores over the stream; with many configurations, of the best and the worst ones."""
    if not drawn:
        return []
    known = [c for c in comparison.configurations if not math.isnan(c.statistics(student_score(drawn[0]))[0])]
    ranked = sorted(known, key=lambda c: -c.statistics(student_score(drawn[0]))[0])
    is_cut = len(ranked) > MAX_CURVES
    chosen = [*ranked[: MAX_CURVES - 2], *ranked[-2:]] if is_cut else ranked
    curves = seed_curves(chosen, drawn[0].replace("total/", "test/"))
    if not curves:
        return []
    figure = curves_figure(curves, "mIoU on the next frames (0 to 1)")
    note = f"The best {MAX_CURVES - 2} and the worst 2 of {len(ranked)} configurations." if is_cut else ""
    if comparison.factors:
        note += f" Names are the number of a configuration, followed by its {', '.join(comparison.factors)}."
    if any(factor.startswith("dataset.stride") for factor in comparison.factors):
        note += " Positions count sampled frames: with a different stride, the same position is a different time."
    has_seeds = any(len(curve.values_SN) > 1 for curve in curves)
    if has_seeds:
        note += " Bands are ± one sample standard deviation over seeds."
    note = note.strip()
    title = f"mIoU over the stream, {REFERENCES[drawn[0].endswith(GROUNDTRUTH)]}"
    title += ", mean over seeds" if has_seeds else ""
    return [embed(figure, alt=f"Chart: {title}. {note}", title=title, note=note)]
