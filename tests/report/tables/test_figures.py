"""Figures of tables: means and deviations over seeds, from the runs of the table."""

from pathlib import Path

import numpy as np
import pytest
from fabricated_store import FabricatedStore
from PIL import Image

from odkd.report.front import Point, front_figure
from odkd.report.paper import MAX_CURVES, Curve, by_setting_figure, over_time_figure, save_figure
from odkd.report.tables.figures import draw, main
from odkd.report.tables.filling import fill
from odkd.report.tables.spec import load_table
from odkd.runs.mlflow_store import Store

SPEC = """
title: Windows
fixed: [dataset=synthetic_tiny]
seeds: [0, 1]
rows:
  "6": [window.learn=6]
  12 (usual): [window.learn=12]
columns: {mIoU: mean/miou}
figures:
  miou: {kind: over_time, metric: [test/miou, past/miou], label: [mIoU, BWT]}
  windows: {kind: by_row, columns: [mIoU], axis: frames}
"""
LINES = [{"position": 10 * i, "domain": "city" if i < 2 else "night", "metrics": {}} for i in range(4)]


def curve(label: str = "FIFO", style: int = 0) -> Curve:
    return Curve(label, [0, 10, 20, 30], np.array([[1.0, 2.0, np.nan, np.nan], [3.0, 2.0, 4.0, np.nan]]), style)


def test_a_curve_has_mean_and_sample_deviation_of_the_defined_seeds() -> None:
    assert curve().mean.tolist()[:3] == [2, 2, 4]
    assert np.isnan(curve().mean[3])
    assert curve().std.tolist() == pytest.approx([2**0.5, 0, 0, 0])


def test_a_figure_over_time_draws_the_means_of_its_curves() -> None:
    figure = over_time_figure(LINES, [("mIoU (%)", [curve(), curve("MIR", 3)]), ("BWT (%)", [curve()])], "a title", "n")
    _, first, second = figure.axes
    assert [line.get_label() for line in first.lines] == ["FIFO", "MIR"]
    np.testing.assert_array_equal(first.lines[0].get_ydata(), curve().mean)
    assert first.lines[0].get_color() == second.lines[0].get_color() != first.lines[1].get_color()
    assert (first.get_ylabel(), second.get_ylabel()) == ("mIoU (%)", "BWT (%)")
    assert second.get_xlabel().startswith("position in the stream (sampled frames)")


def test_curves_differ_without_colour() -> None:
    curves = [curve(str(number), number) for number in range(MAX_CURVES)]
    lines = over_time_figure(LINES, [("mIoU (%)", curves)], "").axes[1].lines
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == MAX_CURVES


def test_a_figure_by_setting_has_ticks_at_its_values_and_a_log_axis_for_wide_ranges() -> None:
    figure = by_setting_figure([Curve("mIoU", [5, 10, 80], np.array([[1.0, 2.0, 3.0]]))], "frames", "mIoU (%)", "")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "10", "80"]


def test_a_figure_by_setting_has_a_place_for_0_beside_a_wide_range() -> None:
    figure = by_setting_figure([Curve("mIoU", [0, 1, 60], np.array([[1.0, 2.0, 3.0]]))], "seconds", "mIoU (%)", "")
    (axes,) = figure.axes
    places = axes.transData.transform([(0, 1), (1, 1), (60, 1)])[:, 0]
    assert np.diff(places).min() > 0.1 * (places[2] - places[0])  # a linear axis would have 0 and 1 on one spot
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "60"]


def test_points_of_a_family_share_a_line_and_differ_from_others_without_colour() -> None:
    points = [Point(name, cost, 2 * cost, 0.0, 0.0, name[0]) for name, cost in (("a2", 2.0), ("b1", 1.0), ("a1", 0.5))]
    figure = front_figure(points, "cost", "score", what="row")
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    containers = {part.get_label(): part[0] for part in figure.axes[0].containers}
    assert list(containers) == ["a", "b"]
    assert containers["a"].get_xdata().tolist() == [0.5, 2.0]  # in the order of costs
    assert containers["a"].get_marker() != containers["b"].get_marker()
    assert lines["on the Pareto front"].get_xdata().tolist() == [0.5, 1.0, 2.0]


def test_equal_figures_give_equal_files_without_type_3_fonts(tmp_path: Path) -> None:
    files = [save_figure(over_time_figure(LINES, [("mIoU (%)", [curve()])], "x"), tmp_path / name) for name in "ab"]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert b"/Type3" not in files[0][0].read_bytes()
    assert b"/CIDFontType2" in files[0][0].read_bytes()


def test_odkd_figures_draws_the_runs_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), tmp_path / "mine.yaml"
    spec.write_text(SPEC)
    history = {"stream/position": {i: 6 * i for i in range(4)}, "test/miou": {i: i / 10 for i in range(4)}}
    with pytest.raises(SystemExit) as stopped:
        main([str(spec), "--uri", store.uri])
    assert stopped.value.code == 1
    assert "lacks 4 of 4 runs" in capsys.readouterr().err
    for learn in (6, 12):
        for seed in (0, 1):
            overrides = ["dataset=synthetic_tiny", f"window.learn={learn}", f"seed={seed}"]
            store.add(overrides, {"mean/miou": 0.1 + seed / 10}, history=history)
    main([str(spec), "--uri", store.uri, "--output", str(tmp_path / "figures")])
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in written] == ["mine_miou.pdf", "mine_miou.png", "mine_windows.pdf", "mine_windows.png"]
    for path in written[1::2]:
        with Image.open(path) as picture:
            assert min(picture.size) > 500
    wrong = {"pie": "figures.miou.kind is 'pie'", "over_time, rows: [7]": "figures.miou.rows: there is no 7"}
    for kind, message in wrong.items():
        spec.write_text(SPEC.replace("over_time", kind))
        with pytest.raises(SystemExit) as stopped:
            main([str(spec), "--uri", store.uri])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_rows_without_a_number_are_not_drawn_by_row(tmp_path: Path) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), tmp_path / "mine.yaml"
    spec.write_text(SPEC.replace("\ncolumns:", "\n  Mine: [window.learn=7]\ncolumns:"))
    for learn in (6, 7, 12):
        for seed in (0, 1):
            store.add(["dataset=synthetic_tiny", f"window.learn={learn}", f"seed={seed}"], {"mean/miou": learn / 100})
    table, read = load_table(str(spec)), Store(store.uri)
    filled = fill(table, read.runs(), read.history)
    ((_, figure),) = draw(filled, read, table.figures["windows"])
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [6, 12]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([6, 12])
    assert "not drawn, because they have no number: Mine" in axes.get_xlabel()
    spec.write_text(SPEC.replace('"6"', "Six").replace("12 (usual)", "Twelve"))
    with pytest.raises(ValueError, match="no row label begins with a number"):
        list(draw(fill(load_table(str(spec)), read.runs(), read.history), read, table.figures["windows"]))


def test_only_scores_are_in_per_cent(tmp_path: Path) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), tmp_path / "mine.yaml"
    spec.write_text(
        SPEC.replace("[test/miou, past/miou], label: [mIoU, BWT]", "[test/miou, learn/loss_total], label: [mIoU, loss]")
        .replace("columns: {mIoU: mean/miou}", 'columns: {mIoU: {metric: mean/miou, factor: 1, unit: ""}}')
        .replace("seeds: [0, 1]", "seeds: [0]")
    )
    history = {name: {i: i / 10 for i in range(4)} for name in ("stream/position", "test/miou", "learn/loss_total")}
    for learn in (6, 12):
        overrides = ["dataset=synthetic_tiny", f"window.learn={learn}"]
        store.add(overrides, {"mean/miou": 0.1}, history=history)
    table, read = load_table(str(spec)), Store(store.uri)
    filled = fill(table, read.runs(), read.history)
    ((_, over_time),) = draw(filled, read, table.figures["miou"])
    *_strip, score, loss = over_time.axes
    assert (score.get_ylabel(), loss.get_ylabel()) == ("mIoU (%)", "loss")
    assert (score.lines[0].get_ydata()[1], loss.lines[0].get_ydata()[1]) == (10, 0.1)
    ((_, by_row),) = draw(filled, read, table.figures["windows"])
    assert by_row.axes[0].get_ylabel() == "mIoU"
