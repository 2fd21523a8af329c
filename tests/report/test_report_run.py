"""Plots, final table and model card of a fabricated run with two domains."""

import base64
import io
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image
from run_folders import CLASSES, make_run

from odkd.report import drawing, learned_nothing, mean_speeds
from odkd.report.artifacts import is_wanted
from odkd.report.canvas import domain_spans, position_edges
from odkd.report.card import write_card
from odkd.report.class_plots import class_figure, class_iou_table, confusion_figure
from odkd.report.html_run import write_run_report
from odkd.report.plots import plot_run, run_figures
from odkd.report.run_tables import time_table
from odkd.report.segments import segment_figure
from odkd.report.stream_plots import loss_figure, score_figure, speed_figure
from odkd.report.summary import _class_tables, summary_table
from odkd.runs.results import read_run


@pytest.mark.slow
def test_every_plot_of_a_finished_run_has_print_resolution(tmp_path: Path) -> None:
    had_global_state = "matplotlib.pyplot" in sys.modules
    paths = plot_run(make_run(tmp_path / "run"), CLASSES)
    assert ("matplotlib.pyplot" in sys.modules) == had_global_state
    stems = {"miou", "accuracy", "losses", "speed", "class_iou", "class_iou_groundtruth"}
    assert {path.stem for path in paths} == stems | {"confusion", "confusion_groundtruth"}
    assert {path.parent for path in paths} == {tmp_path / "run" / "plots"}
    assert sorted(path.name for path in paths) == sorted(path.name for path in (tmp_path / "run/plots").iterdir())
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) >= 450
            assert picture.info["dpi"][0] == pytest.approx(150, abs=1)


@pytest.mark.parametrize(
    ("num_iterations", "classes"),
    [(1, ["background", "person"]), (500, CLASSES), (3, [f"thing {i}" for i in range(150)])],
)
def test_plots_fit_short_and_long_runs_with_few_and_many_classes(
    tmp_path: Path, num_iterations: int, classes: list[str]
) -> None:
    folder = make_run(tmp_path / "run", num_iterations=num_iterations, classes=classes, groundtruth=False, period=7)
    assert [path.stem for path in plot_run(folder, classes)] == [
        "miou",
        "accuracy",
        "losses",
        "speed",
        "class_iou",
        "confusion",
    ]


def test_a_run_without_iterations_has_no_plots_and_its_table_says_that_there_are_no_scores(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=1)
    for name in ("metrics.jsonl", "timing.jsonl", "confusion.npz", "summary.json"):
        (folder / name).unlink()
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"status": "failed"}))
    assert plot_run(folder, CLASSES) == []
    assert "No final scores: the run is failed. The same command continues it." in summary_table(folder)


def test_the_heat_map_shows_each_iou_in_its_cell_and_leaves_undefined_cells_empty(tmp_path: Path) -> None:
    lines = read_run(make_run(tmp_path / "run", num_iterations=4)).metrics
    table = class_iou_table(lines, CLASSES, "groundtruth")
    assert table.shape == (11, 4)
    assert table[3, 2] == lines[2]["metrics"]["test/iou_groundtruth/road"]
    np.testing.assert_array_equal(np.isnan(table[-1]), [False, True, True, False])
    figure = class_figure(lines, CLASSES, "groundtruth", "title")
    assert figure is not None
    (drawn,) = [mesh.get_array() for mesh in figure.axes[1].collections if type(mesh).__name__ == "QuadMesh"]
    np.testing.assert_array_equal(np.ma.filled(drawn, np.nan), table)
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == CLASSES


def test_an_undefined_score_is_a_gap_and_a_point_between_gaps_has_a_marker(tmp_path: Path) -> None:
    lines = read_run(make_run(tmp_path / "run", num_iterations=100)).metrics
    lines[14]["metrics"]["test/miou"] = None  # iteration 12 is undefined too, so 13 is alone
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    teacher, truth = figure.axes[1].get_lines()
    assert np.flatnonzero(np.isnan(np.asarray(teacher.get_ydata()))).tolist() == [12, 14]
    assert teacher.get_markevery() == [13]
    assert truth.get_markevery() == []
    mean = np.nanmean(np.asarray(teacher.get_ydata()))
    assert teacher.get_label() == f"against teacher (mean {mean:.3f})"
    assert np.asarray(teacher.get_xdata()).tolist() == list(range(0, 2000, 20))


def test_domains_are_shaded_and_named_in_the_strip(tmp_path: Path) -> None:
    lines = read_run(make_run(tmp_path / "run", num_iterations=20, period=8)).metrics
    assert domain_spans(lines) == [(-10, 150, "day"), (150, 310, "night"), (310, 390, "day")]
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["day", "day", "night"]
    (time,) = figure.axes[0].child_axes
    minutes = {label.get_text(): label.get_position()[0] for label in time.get_xticklabels()}
    assert minutes["10"] == 200  # an iteration a minute, 20 frames each
    assert time.get_xlabel() == "time in the videos (minutes; one sampled frame each 3 s)"
    for line in lines:
        line["metrics"]["stream/seconds"] /= 60
    short = score_figure(lines, "miou", "mIoU", "title")
    assert short is not None
    (time,) = short.axes[0].child_axes
    assert "10" in {label.get_text() for label in time.get_xticklabels()}
    assert time.get_xlabel() == "time in the videos (seconds; one sampled frame each 0.05 s)"


def test_a_stream_without_domains_has_no_strip_and_its_time_is_above_the_curves(tmp_path: Path) -> None:
    lines = [{**line, "domain": ""} for line in read_run(make_run(tmp_path / "run")).metrics]
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    (panel,) = figure.axes
    (time,) = panel.child_axes
    assert time.get_xlabel().startswith("time in the videos (minutes")
    assert not panel.collections  # nothing is shaded
    segments = segment_figure(lines, read_run(tmp_path / "run").summary, "teacher", "title")
    assert segments is None or "domain" not in segments.axes[0].get_xlabel()


def test_a_stream_of_images_has_no_seconds(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", num_iterations=4)
    for pictures, num_axes in ((None, 1), ("*.png", 0)):
        dataset = {"dataset": {"name": "x"} | ({"pictures": pictures} if pictures else {})}
        (run / "config.yaml").write_text(yaml.safe_dump(dataset))
        found = read_run(run)
        figure = run_figures(found, CLASSES, found.summary)["miou"]
        assert sum(len(axes.child_axes) for axes in figure.axes) == num_axes


def test_where_nothing_is_learned_there_is_no_speed_of_learning(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    for line in run.metrics:
        line["metrics"]["time/learn_frames_per_second"] = 0.0
    assert learned_nothing(run.metrics)
    assert list(mean_speeds(run.metrics)) == ["evaluation"]
    figure = speed_figure(run.metrics, "title")
    assert figure is not None
    assert [text.get_text().partition(" (")[0] for text in figure.legends[0].get_texts()][:1] == ["evaluation"]
    table = time_table(run.metrics)
    assert table is not None
    assert [cell.text for cell in table.rows[0].cells][::4] == ["nothing learned: selection of frames only", "–"]


def test_a_change_of_domain_is_drawn_at_its_position_and_short_streams_have_seconds() -> None:
    lines: list[dict[str, Any]] = [
        {"position": 6 * i, "domain": "day" if i < 4 else "night", "domain_began": 0 if i < 4 else 20, "iteration": i}
        | {"metrics": {"stream/seconds": 1.5 * i, "test/miou": 0.5}}
        for i in range(8)
    ]
    assert domain_spans(lines) == [(-3, 20, "day"), (20, 45, "night")]
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    (time,) = figure.axes[0].child_axes
    assert time.get_xlabel() == "time in the videos (seconds; one sampled frame each 0.25 s)"
    labels = [label.get_text() for label in time.get_xticklabels()]
    assert len(set(labels)) == len(labels) > 3


def test_names_that_do_not_fit_into_their_domain_are_in_the_legend(tmp_path: Path) -> None:
    lines = read_run(make_run(tmp_path / "run", num_iterations=200, period=2)).metrics
    figure = score_figure(lines, "miou", "mIoU", "title")
    assert figure is not None
    assert [text.get_text() for text in figure.legends[0].get_texts()][2:] == ["day", "night"]


def test_a_single_iteration_spans_one_frame() -> None:
    assert position_edges([{"position": 7}]).tolist() == [6.5, 7.5]


def test_the_total_of_a_single_loss_is_not_drawn_twice(tmp_path: Path) -> None:
    lines = read_run(make_run(tmp_path / "run", num_iterations=3)).metrics
    for line in lines:
        line["metrics"]["learn/loss_total"] = line["metrics"]["learn/loss_cross_entropy"]
    figure = loss_figure(lines, "title")
    assert figure is not None
    assert len(figure.axes) == 2  # the strip of domains and one panel
    lines[1]["metrics"]["learn/loss_total"] += 1
    figure = loss_figure(lines, "title")
    assert figure is not None
    assert len(figure.axes) == 3


def test_the_confusion_matrix_is_in_per_cent_of_rows_without_classes_that_never_occur() -> None:
    confusion = np.array([[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [5, 0, 0, 15]])
    figure = confusion_figure(confusion, ["sky", "never", "only predicted", "road"], "the teacher", "student", "title")
    axes = figure.axes[0]
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(drawn, [[75, 25, 0], [np.nan] * 3, [25, 0, 75]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sky", "only predicted", "road"]
    assert axes.get_yticklabels()[2].get_text() == "road  83.3 %"
    assert [text.get_text() for text in axes.texts] == ["75", "25", "0", "25", "0", "75"]


def test_the_table_names_the_reference_of_each_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run", num_iterations=3)
    summary = {
        "total/miou": 0.51239,
        "total/miou_groundtruth": 0.4,
        "mean/accuracy": 0.9,
        "num_iterations": 3,
    }
    summary |= {"total/iou/sky": 0.75, "total/iou_groundtruth/sky": 0.5, "total/iou/car": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    for name in ("timing.jsonl", "overlay.mp4", "results.csv", "student.safetensors", "MODEL_CARD.md"):
        (folder / name).unlink()
    monkeypatch.chdir(tmp_path)
    assert (
        summary_table(folder)
        == """\
online-camvid-tinynet: stage online, finished, 3 iterations

score (0 to 1)                        against teacher  against ground truth
mIoU, all test windows pooled                  0.5124                0.4000
pixel accuracy, mean over iterations           0.9000             undefined

IoU of class  against teacher  against ground truth
sky                    0.7500                0.5000
car                 undefined             undefined

results folder  run
plots           run/plots
dashboard       mlflow ui --backend-store-uri sqlite:////somewhere/outputs/mlflow.db"""
    )


def test_the_table_has_no_column_for_a_reference_that_the_run_lacks(tmp_path: Path) -> None:
    table = summary_table(make_run(tmp_path / "run", groundtruth=False))
    assert "against teacher" in table
    assert "ground truth" not in table


def test_speed_is_all_frames_over_all_seconds(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=2)
    rows = [(1.0, 10.0), (3.0, 2.0)]  # 10 frames in one second, then 6 in three
    (folder / "timing.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "iteration": iteration,
                    "time": 0.0,
                    "metrics": {"time/learn_seconds": seconds, "time/learn_frames_per_second": rate},
                }
            )
            + "\n"
            for iteration, (seconds, rate) in enumerate(rows)
        )
    )
    assert "learning (frames per second)  4\n" in summary_table(folder)


def test_classes_whose_long_names_begin_alike_keep_a_row_each() -> None:
    (table,) = _class_tables({"x" * 300: [0.1, 0.1], "x" * 299 + "y": [0.2, 0.2]})
    assert [line.split()[-1] for line in table.splitlines()[1:]] == ["0.1000", "0.2000"]


def test_with_many_classes_the_best_and_the_worst_are_listed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=1)
    summary: dict[str, float | None] = {f"total/iou/thing {i}": i / 150 for i in range(149)} | {"total/iou/none": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = summary_table(folder).splitlines()
    best = lines.index("IoU of class, best 20 of 150  against teacher")
    worst = lines.index("IoU of class, worst 20 of 150  against teacher")
    assert [line.split()[1] for line in (lines[best + 1], lines[best + 20])] == ["148", "129"]
    assert [line.split()[1] for line in (lines[worst + 1], lines[worst + 20])] == ["19", "0"]


def test_the_model_card_describes_training_and_loading_of_the_student(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=2)
    facts = {
        "student": "TinyNet",
        "classes": "sky, road",
        "teacher": "FPN, a|b",
        "load": "student = TinyNet(2)",
    }
    text = write_card(folder, facts=facts, summary={"total/miou": 0.5, "total/iou_groundtruth/sky": 0.25}).read_text()
    assert (folder / "MODEL_CARD.md").read_text() == text
    assert "| student | TinyNet |" in text
    assert "| teacher | FPN, a\\|b |" in text
    assert "| dataset | not recorded |" in text
    assert "| window.learn | 67 |" in text
    assert "| score (0 to 1) | against teacher |\n|---|---|\n| mIoU, all test windows pooled | 0.5000 |" in text
    assert "| IoU of class | against ground truth |\n|---|---|\n| sky | 0.2500 |" in text
    assert 'student = TinyNet(2)\nstudent.load_state_dict(load_file("student.safetensors"))' in text
    assert "{" not in text  # every field of the template is filled


def test_names_of_a_data_set_stay_text_in_a_model_card(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=2)
    name = "<img src=x onerror=go()>\n![a](http://x) |b"
    scores = {"total/miou": 0.5, f"total/iou_groundtruth/{name}": 0.25}
    text = write_card(folder, facts={"classes": name, "licence": name}, summary=scores).read_text()
    assert text.count("&lt;img src=x onerror=go()> ![a]\\(http://x) ") == 3
    assert not [line for line in text.splitlines() if line.startswith("![")]
    assert "<img" not in text


def test_each_figure_is_drawn_once_for_plots_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    paint = drawing.draw

    def draw(figure: Figure) -> drawing.Drawing:
        drawn.append(figure.get_suptitle())
        return paint(figure)

    monkeypatch.setattr(drawing, "draw", draw)
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "plots")
    page = write_run_report(run, plots=True).read_text()
    assert len(drawn) == len(set(drawn)) == len(list((run / "plots").iterdir()))
    for source in re.findall(r'src="data:image/png;base64,([^"]+)"', page):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
        whole = [np.asarray(Image.open(path)) for path in sorted((run / "plots").iterdir())]
        # The page shows the image of a file below its title, which is its caption.
        assert any(w.shape[1] == shown.shape[1] and np.array_equal(w[-len(shown) :], shown) for w in whole)
        assert not any(np.array_equal(w, shown) for w in whole)


@pytest.mark.parametrize(
    ("setting", "in_sweep", "seconds", "is_made"),
    [
        ("auto", False, 1.0, True),
        ("auto", True, 1.0, False),
        ("auto", True, 61.0, True),
        ("auto", True, None, False),
        (True, True, 1.0, True),
        (False, False, 99.0, False),
    ],
)
def test_a_short_job_of_a_sweep_leaves_its_page_to_the_command(
    setting: bool | str, in_sweep: bool, seconds: float | None, is_made: bool
) -> None:
    run = SimpleNamespace(description={"sweep": {"key": "k"} if in_sweep else None})
    cost = None if seconds is None else SimpleNamespace(seconds=seconds)
    assert is_wanted(setting, run, cost) == is_made  # type: ignore[arg-type]
