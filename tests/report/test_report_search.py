"""Reports of searches and of seeds: drawn settings are scatter plots, captions explain bars and bands."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from compared_runs import SCORE, add_run, entries, settings
from report_pages import Page, check_page
from run_folders import make_run

from odkd.report.comparison import Comparison
from odkd.report.factors import compare
from odkd.report.html_run import write_run_report
from odkd.report.html_sweep import write_runs_report
from odkd.report.stream_plots import score_figure
from odkd.report.sweep_pictures import effects_note
from odkd.report.sweep_plots import curves_figure, effects_figure, pair_figure, seed_curves
from odkd.runs.results import read_run

RATES = [0.00022194375634864964, 1.1667191683359933e-05, 0.005842055619987789, 0.0013761234, 7.151e-05, 0.000917171]
WINDOWS = [51, 16, 64, 25, 49, 29]
MIOU = [0.5, 0.3, 0.45, 0.6, 0.4, 0.35]


def search(outputs: Path, num_trials: int = len(RATES)) -> Comparison:
    """Write trials with two drawn settings and one chosen setting, one run each, and compare them."""
    for number in range(num_trials):
        rate, learn, replay = RATES[number], WINDOWS[number], ("fifo", "uniform")[number % 2]
        overrides = [f"optimizer.lr={rate}", f"window.learn={learn}", f"replay={replay}"]
        config = settings(replay, learn, 0, optimizer={"lr": rate})
        add_run(outputs, f"t{number}", overrides, config, MIOU[number])
    return compare(entries(outputs))


def over_seeds(outputs: Path) -> Comparison:
    """Write runs with three values of one setting and three seeds each, with mIoU 0.1, 0.2, 0.3, ...; compare them."""
    for (number, rate), seed in itertools.product(enumerate((0.0001, 0.001, 0.01)), (0, 1, 2)):
        overrides = [f"optimizer.lr={rate}", f"seed={seed}"]
        config = settings("fifo", 6, seed, optimizer={"lr": rate})
        add_run(outputs, f"{rate}-{seed}", overrides, config, 0.1 * (number + seed + 1))
    return compare(entries(outputs))


def test_drawn_values_of_a_search_are_continuous_and_chosen_values_are_not(tmp_path: Path) -> None:
    few, many = search(tmp_path / "few", 3), search(tmp_path / "many")
    # Three different windows are too few.
    assert [factor for factor in few.factors if few.is_continuous(factor)] == ["optimizer.lr"]
    assert [factor for factor in many.factors if many.is_continuous(factor)] == ["optimizer.lr", "window.learn"]
    seeds = over_seeds(tmp_path / "seeds")
    assert not seeds.is_continuous("optimizer.lr")
    for replay, learn in itertools.product(("fifo", "uniform"), range(1, 8)):  # a grid of seven typed values
        overrides = [f"replay={replay}", f"window.learn={learn}"]
        add_run(tmp_path / "grid", f"{replay}{learn}", overrides, settings(replay, learn, 0), 0.5)
    assert not compare(entries(tmp_path / "grid")).is_continuous("window.learn")


def test_a_drawn_parameter_is_a_scatter_on_a_logarithmic_axis_without_a_line(tmp_path: Path) -> None:
    figure = effects_figure(search(tmp_path), SCORE, "mIoU")
    assert figure is not None
    figure.draw_without_rendering()
    rate, window, replay = figure.axes
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "linear"]
    (points,) = rate.get_lines()
    assert points.get_linestyle() == "None"
    drawn = dict(zip(points.get_xdata(), points.get_ydata(), strict=True))
    assert drawn == pytest.approx(dict(zip(RATES, MIOU, strict=True)))
    lowest, highest = rate.get_xlim()
    ticks = zip(rate.get_xticklabels(), rate.get_xticks(), strict=True)
    shown = [label.get_text() for label, x in ticks if lowest <= x <= highest]
    assert shown == ["1e-05", "0.0001", "0.001"]
    assert sorted(window.get_lines()[0].get_xdata()) == sorted(WINDOWS)
    # In the order of configurations, which begins with the lowest rate.
    assert [label.get_text() for label in replay.get_xticklabels()] == ["uniform", "fifo"]
    few = effects_figure(search(tmp_path / "few", 3), SCORE, "mIoU")
    assert few is not None
    assert {line.get_linestyle() for line in few.axes[1].get_lines() if line.get_marker() == "s"} == {"None"}


def test_pairs_with_few_combinations_have_no_heat_map(tmp_path: Path) -> None:
    few, many = search(tmp_path / "few", 3), search(tmp_path / "many")
    # Three trials: half of the cells have a run, but each rate has only one.
    for found, rows, columns in ((few, "replay", "optimizer.lr"), (few, "replay", "window.learn")):
        assert pair_figure(found, rows, columns, SCORE, "mIoU") is None
    assert pair_figure(many, "replay", "optimizer.lr", SCORE, "mIoU") is None
    figure = pair_figure(many, "window.learn", "optimizer.lr", SCORE, "mIoU")
    assert figure is not None
    (points,) = figure.axes[0].collections
    found = {(x, y): value for (x, y), value in zip(points.get_offsets(), points.get_array(), strict=True)}
    assert found == pytest.approx(dict(zip(zip(RATES, WINDOWS, strict=True), MIOU, strict=True)))
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "linear")


def test_the_page_of_a_search_shows_four_digits_and_its_scores_first(tmp_path: Path) -> None:
    search(tmp_path)
    page = Page(write_runs_report(sorted((tmp_path / "runs").iterdir()), tmp_path / "all.html"))
    check_page(page)
    assert "0.0002219" in page.text
    assert "0.00022194" not in page.text
    assert "best mIoU against teacher: row 5: optimizer.lr=0.001376, window.learn=25, replay=uniform" in page.text
    assert page.text.index("mIoU against teacher") < page.text.index("learning, s")
    heads = page.source.partition("<thead>")[2].partition("</thead>")[0]
    assert heads.index("mIoU against teacher") < heads.index("optimizer.<wbr>lr") < heads.index("learning, s")
    assert [a["data-value"] for a in page.all("td") if a.get("data-value") == str(RATES[0])]  # sorted by all digits
    alts = [image["alt"] for image in page.all("img")]
    assert "Scatter plot: mIoU against teacher by optimizer.lr and window.learn" in alts
    assert not [alt for alt in alts if alt.startswith("Heat map")]


def test_bars_are_over_runs_where_each_value_has_one_configuration(tmp_path: Path) -> None:
    found = over_seeds(tmp_path)
    assert found.is_over_runs("optimizer.lr", SCORE)
    assert found.at_level("optimizer.lr", "0.001", SCORE) == pytest.approx((0.3, 0.1, 3))
    figure = effects_figure(found, SCORE, "mIoU")
    assert figure is not None
    (bars,) = figure.axes[0].collections
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[0.1, 0.3], [0.2, 0.4], [0.3, 0.5]])
    grey = [line.get_ydata().tolist() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(grey, [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]])
    assert effects_note(found, SCORE).startswith("Each value has one configuration: grey points are its runs")
    page = Page(write_runs_report(sorted((tmp_path / "runs").iterdir()), tmp_path / "all.html"))
    assert "mean ± sample standard deviation over its runs" in page.text
    assert page.text.count("0.3000 ± 0.1000") == 2  # in the tables of configurations and of effects
    mixed = search(tmp_path / "search")
    assert not mixed.is_over_runs("replay", SCORE)
    assert mixed.at_level("replay", "fifo", SCORE) == mixed.effect({"replay": "fifo"}, SCORE)
    note = effects_note(mixed, SCORE)
    assert note.startswith("replay: grey points are configurations")
    assert note.endswith("optimizer.lr, window.learn: each point is a configuration.")


def test_curves_of_several_seeds_have_a_band_of_one_standard_deviation(tmp_path: Path) -> None:
    found = over_seeds(tmp_path)
    for entry in found.entries:
        seed = int(entry.settings["seed"])
        for line in entry.run.metrics:
            line["metrics"]["test/miou"] = None if line["iteration"] == 0 and seed else 0.2 + 0.1 * seed
    curves = seed_curves(found.configurations, "test/miou")
    assert [curve.label for curve in curves] == ["1: 0.0001", "2: 0.001", "3: 0.01"]
    np.testing.assert_allclose(curves[0].mean, [0.2, 0.3, 0.3, 0.3])
    np.testing.assert_allclose(curves[0].std, [0.0, 0.1, 0.1, 0.1])
    figure = curves_figure(curves, "mIoU")
    (band, _, _) = figure.axes[0].collections
    heights = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices}
    assert {(20, 0.2), (20, 0.4), (60, 0.2), (60, 0.4), (0, 0.2)} <= heights
    page = Page(write_runs_report(sorted((tmp_path / "runs").iterdir()), tmp_path / "all.html"))
    assert "Bands are ± one sample standard deviation over seeds." in page.text


def test_a_score_that_is_equal_against_both_references_is_drawn_once(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=6)
    lines = read_run(folder).metrics
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    assert len(figure.axes[1].get_lines()) == 2
    for line in lines:
        line["metrics"] |= {key.replace("_groundtruth", ""): x for key, x in line["metrics"].items() if "_gr" in key}
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    (curve,) = figure.axes[1].get_lines()
    assert str(curve.get_label()).startswith("against teacher = ground truth (mean")
    metrics = lines[2]["metrics"]
    metrics["test/miou"] = math.nextafter(metrics["test/miou"], 1)  # the smallest difference counts
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    assert len(figure.axes[1].get_lines()) == 2


@pytest.mark.slow
def test_the_teacher_counts_as_ground_truth_only_if_all_scores_are_equal(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=4, classes=["road", "sky", "car"])
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((folder / "summary.json").read_text())
    for scores in (summary, *(line["metrics"] for line in lines)):
        scores |= {key.replace("_groundtruth", ""): value for key, value in scores.items() if "_groundtruth" in key}
    (folder / "summary.json").write_text(json.dumps(summary))
    pages = []
    for value in (lines[2]["metrics"]["test/iou/road"], 0.125):  # on the second page one class of one iteration differs
        lines[2]["metrics"]["test/iou/road"] = value
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        pages.append(Page(write_run_report(folder)))
    same, other = pages
    assert "Figures and classes are shown once" in same.text
    assert "Figures and classes are shown once" not in other.text
    assert len(other.all("img")) - len(same.all("img")) == 2  # class IoU and confusion against ground truth
    bars = [len([a for a in page.all("td") if "bar" in (a["class"] or "").split()]) for page in pages]
    assert bars[1] - bars[0] == 3  # the second IoU of each class
    assert same.text.count("The teacher is the ground truth.") == 4  # mIoU, accuracy, class IoU, confusion
    assert "The teacher is the ground truth." not in other.text
