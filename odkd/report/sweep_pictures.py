"""Which figures a sweep's page shows, in words and embedded: effects, pairs, score against cost, scores over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter

from odkd.report.comparison import Comparison, Measure
from odkd.report.html import Picture, embed
from odkd.report.sweep_plots import MAX_CURVES, curves_figure, effects_figure, pair_figure, pareto_figure

MAX_PAIRS = 6  # heat maps, of the factors with the largest effects
EVALUATION_MATTERS = ("student", "precision", "channels_last", "compile", "device", "dataset.size")
learn_seconds: Measure = attrgetter("learn_seconds")
evaluate_milliseconds: Measure = attrgetter("evaluate_milliseconds")


def student_score(key: str) -> Measure:
    """A score to compare students by."""
    return lambda entry: math.nan if entry.is_reference else entry.score(key)


def effect_pictures(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Of each score that is drawn, a figure with a panel a factor."""
    pictures = []
    for key in drawn:
        figure = effects_figure(comparison, student_score(key), f"{metrics[key]}\n(0 to 1)")
        if figure is not None:
            alt = f"A panel a setting with {metrics[key]} at each of its values; the tables below have the numbers."
            pictures.append(embed(figure, alt=alt, title=metrics[key]))
    return pictures


def pair_pictures(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Heat maps of pairs of factors, those with the largest effects first."""

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
            rows, columns = columns, rows  # wide rather than high
        figure = pair_figure(comparison, rows, columns, student_score(drawn[0]), metrics[drawn[0]])
        if figure is not None:
            title = f"{rows} and {columns}"
            pictures.append(embed(figure, alt=f"Heat map: {metrics[drawn[0]]} by {title}", title=title))
    return pictures


def cost_pictures(comparison: Comparison, metrics: Mapping[str, str], drawn: Sequence[str]) -> list[Picture]:
    """Time of learning; where the network or its size differs, that of prediction too."""
    costs = [(learn_seconds, "time of learning in the whole run (s)", "cost of learning")]
    if any(factor.startswith(EVALUATION_MATTERS) for factor in comparison.factors):
        costs.append((evaluate_milliseconds, "time of evaluation (ms a frame)", "cost of prediction"))
    pictures = []
    for key in drawn[:1]:
        for measure, label, title in costs:
            figure = pareto_figure(comparison, measure, label, student_score(key), f"{metrics[key]} (0 to 1)")
            if figure is not None:
                title = f"{metrics[key]}, by {title}"
                alt = f"Scatter plot: {title}. The numbers are those of the table of configurations."
                pictures.append(embed(figure, alt=alt, title=title))
    return pictures


def curve_pictures(comparison: Comparison, drawn: Sequence[str]) -> list[Picture]:
    """Over the stream; of many configurations, the best ones and the worst."""
    if not drawn:
        return []
    known = [c for c in comparison.configurations if not math.isnan(c.statistics(student_score(drawn[0]))[0])]
    ranked = sorted(known, key=lambda c: -c.statistics(student_score(drawn[0]))[0])
    is_cut = len(ranked) > MAX_CURVES
    chosen = [*ranked[: MAX_CURVES - 2], *ranked[-2:]] if is_cut else ranked
    figure = curves_figure(chosen, drawn[0].replace("total/", "test/"), "mIoU on the next frames (0 to 1)")
    if figure is None:
        return []
    note = f"The best {MAX_CURVES - 2} and the worst 2 of {len(ranked)} configurations." if is_cut else ""
    title = "mIoU over the stream, mean over seeds"
    return [embed(figure, alt=f"Chart: {title}. {note}", title=title, note=note)]
