"""report.html of runs: self-contained, complete, and safe against markup in names."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_pages import HOSTILE, Page, check_page
from run_folders import CLASSES, make_run

from odkd.commands.report import main
from odkd.report import html, stills
from odkd.report.html_run import write_run_report
from odkd.report.run_tables import noise_table, other_scores, round_table
from odkd.report.settings import changed_settings, default_settings, settings_of
from odkd.report.stills import choose, evenly, read_stills, write_stills
from odkd.runs.cost import Cost, labelling_cost, peak_memory_bytes
from odkd.runs.results import command_of, read_run


def pictures(num_frames: int, size: tuple[int, int] = (24, 40)):
    random = np.random.default_rng(0)
    for number in range(num_frames):
        label_HW = random.integers(0, 3, size, dtype=np.uint8)
        image_HWC = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        yield number, f"frame {number}", image_HWC, label_HW, label_HW.T.reshape(size)


def test_the_report_of_a_finished_run_shows_all_its_results(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "overrides.txt").write_text("experiment=my study\nwindow.learn=67\n")
    write_stills(folder, pictures(2), classes=CLASSES, palette=[[0, 0, 0]] * len(CLASSES))
    page = Page(write_run_report(folder))
    check_page(page)
    for found in ("Scores over time", "Classes", "Learning", "Stills", "Cost", "Settings", "3f2a9c", "2 min 15 s"):
        assert found in page.text
    assert "odkd 'experiment=my study' window.learn=67" in page.text
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("total/miou", "total/miou_groundtruth", "mean/accuracy", "total/iou/road"):
        assert f"{summary[key]:.4f}" in page.text
    assert "undefined" in page.text  # the class that is in no frame of the last iteration
    assert len(page.all("img")) == 8 + 2
    assert "Heat map: IoU of each class against the teacher." in [image["alt"] for image in page.all("img")]


def test_a_failed_run_without_results_has_a_report(tmp_path: Path) -> None:
    record = {"key": "k", "name": "n", "stage": "online", "status": "failed", "created": "2026-11-20T10:00:00+00:00"}
    (tmp_path / "run.json").write_text(json.dumps({**record, "params": {}, "tags": {}}))
    (tmp_path / "error.txt").write_text(f"ValueError: {HOSTILE}")
    page = Page(write_run_report(tmp_path))
    check_page(page)
    assert "No final scores: the run is failed" in page.text
    assert f"ValueError: {HOSTILE}" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a run folder"):
        write_run_report(tmp_path)


def test_markup_in_names_is_displayed_and_not_executed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=4, classes=[HOSTILE, "road"])
    (folder / "overrides.txt").write_text(f"run.name={HOSTILE}\n")
    record = json.loads((folder / "run.json").read_text())
    hostile = {"name": HOSTILE, "stage": HOSTILE, "tags": {f"odkd.{HOSTILE}": HOSTILE}}
    (folder / "run.json").write_text(json.dumps(record | hostile | {"params": {f"a.{HOSTILE}": HOSTILE}}))
    write_stills(
        folder,
        [(step, HOSTILE, *rest) for step, _, *rest in pictures(1)],
        classes=["a", HOSTILE, "c"],
        palette=[[0, 0, 0]] * 3,
    )
    page = Page(write_run_report(folder))
    check_page(page)  # allows exactly one script
    assert page.source.count("<script") == 1
    assert page.text.count("<script>alert(1)</script>") >= 6
    assert "{{7*7}}" in page.text


@pytest.mark.slow
def test_a_report_with_many_classes_iterations_and_stills_is_smaller_than_5_megabytes(tmp_path: Path) -> None:
    names = [f"class number {n}" for n in range(150)]
    folder = make_run(tmp_path / "run", num_iterations=250, classes=names)
    write_stills(folder, pictures(8, (720, 960)), classes=names, palette=[[n, n, n] for n in range(150)])
    page = Page(write_run_report(folder))
    check_page(page)
    assert "frame 7" in page.text


def test_stills_beyond_the_size_limit_are_omitted(tmp_path: Path, monkeypatch) -> None:
    write_stills(tmp_path, pictures(3), classes=["a", "b", "c"], palette=[[0, 0, 0]] * 3)
    assert [still.title for still in read_stills(tmp_path)] == ["frame 0", "frame 1", "frame 2"]
    sizes = [path.stat().st_size for path in sorted((tmp_path / "stills").glob("*.webp"))]
    monkeypatch.setattr(stills, "MAX_BYTES", sum(sizes[:2]))
    assert [still.title for still in read_stills(tmp_path)] == ["frame 0", "frame 1"]


EPOCHS = {
    "num_trainings": 3.0,
    "num_epochs": 9.0,
    "teacher/miou_groundtruth": 0.7,
    "teacher/accuracy_groundtruth": 0.9,
    "round_1/student_0/num_epochs": 3,
    "round_1/student_0/best_epoch": 1,
    "round_1/student_0/miou_groundtruth": 0.4,
    "round_1/student_0/miou": 0.5,
    "round_1/student_0/val_best": 0.45,
    "round_1/labels/miou_groundtruth": 0.68,
    "round_1/labels/ignored_share_groundtruth": 0.0,
    "round_1/agreement/miou": 0.8,
    "final/num_epochs": 3,
    "final/best_epoch": 2,
    "final/miou_groundtruth": None,
    "final/miou_previous_round": 0.9,
    "final/labels/miou_groundtruth": 0.41,
}


def test_the_table_of_rounds_has_each_reference_and_the_training_labels() -> None:
    table = round_table(EPOCHS)
    assert table is not None
    assert [head for head in table.head if "mIoU a" in head] == [
        "mIoU against teacher",
        "mIoU against ground truth",
        "mIoU against previous round",
    ]
    rows = {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in table.rows}
    assert rows == {
        "teacher": ["–", "0.7000", "–", "–", "–", "–", "–"],
        "round 1, student 0": ["0.5000", "0.4000", "–", "0.6800", "3", "2", "0.4500"],
        "final student": ["–", "–", "0.9000", "0.4100", "3", "3", "–"],
    }
    noise = noise_table(EPOCHS)
    assert noise is not None
    assert [[cell.text for cell in row.cells] for row in noise.rows] == [
        ["round 1", "0.6800", "0.0000", "0.8000", "–"],
        ["final student", "0.4100", "–", "–", "–"],
    ]
    other = other_scores(EPOCHS)
    assert other is not None
    assert [[cell.text for cell in row.cells] for row in other.rows] == [["pixel accuracy, teacher", "0.9000"]]


def test_settings_that_differ_from_the_defaults_are_listed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", num_iterations=2)
    (folder / "config.yaml").write_text(
        "mine: {a: [1, null]}\nseed: 3\nwindow: {learn: 67, test: 5}\npaths: {outputs: x}\n"
    )
    settings = settings_of(read_run(folder))
    assert changed_settings(settings, default_settings()) == [
        ("mine.a", "[1, null]", ""),
        ("seed", "3", "0"),
        ("window.test", "5", "20"),
    ]
    assert command_of(read_run(folder)) == "odkd"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"tags": {"odkd.config_dir": "my conf"}}))
    assert command_of(read_run(folder)) == "odkd --config-dir 'my conf'"


def test_stills_are_spread_over_the_stream_and_include_its_best_and_worst_iteration() -> None:
    scores = [0.0, *np.linspace(0.3, 0.6, 40).tolist()]
    scores[7], scores[11], scores[20] = 0.1, 0.9, math.nan
    chosen = choose(scores)
    assert (chosen[7], chosen[11]) == ("lowest mIoU after the first", "highest mIoU")
    assert sorted(set(chosen) - {7, 11}) == evenly(41) == [0, 8, 16, 24, 32, 40]
    assert choose([0.5]) == {0: ""}
    assert choose([]) == {}
    assert evenly(3) == [0, 1, 2]


def test_figures_are_svg_unless_png_is_smaller() -> None:
    from matplotlib.figure import Figure

    for num_points, kind in ((10, "svg+xml"), (5_000, "png")):
        figure = Figure(figsize=(3, 2), layout="constrained")
        random = np.random.default_rng(0)
        figure.subplots().plot(random.normal(size=num_points), random.normal(size=num_points), ".")
        again = html.embed(figure, alt="a")
        assert again.uri.startswith(f"data:image/{kind};base64,")
        assert again == html.embed(figure, alt="a")  # equal figures give equal bytes


def test_memory_is_measured_and_the_processes_of_a_run_are_listed(tmp_path: Path) -> None:
    import torch

    before = peak_memory_bytes()
    cost = Cost(torch.device("cpu"))
    block = np.ones(2**27, np.uint8)  # 128 MiB
    cost.write(tmp_path)
    cost.write(tmp_path)  # the same process again
    known = json.loads((tmp_path / "cost.json").read_text())
    assert before is not None
    assert len(known["processes"]) == 1
    assert known["processes"][0]["peak_memory_bytes"] >= block.nbytes
    assert known["processes"][0]["seconds"] > 0
    Cost(torch.device("cpu")).write(tmp_path)
    assert len(json.loads((tmp_path / "cost.json").read_text())["processes"]) == 2
    assert labelling_cost([]) is None


def test_a_run_writes_its_report_with_stills_and_cost(odkd) -> None:
    folder = odkd("run.report=true", "evaluation.segment_frames=2")
    page = Page(folder / "report.html")
    check_page(page)
    for found in ("finished", "What is remembered", "Stills", "peak memory", "teacher's labels, made once"):
        assert found in page.text
    assert "Figures and classes are shown once" in page.text  # the oracle's labels are the true ones
    alts = [image["alt"] for image in page.all("img")]
    assert [alt for alt in alts if "ground truth" in alt] == [alt for alt in alts if "teacher = ground truth" in alt]
    single_curves = [alt for alt in alts if "teacher = ground truth: first" in alt]
    assert len(single_curves) == 2  # mIoU and accuracy
    assert page.text.count("The teacher is the ground truth.") == 6
    assert "IoU against teacher = ground truth" in page.text
    assert "IoU against ground truth" not in page.text.replace("mIoU against ground truth", "")
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["teacher"]["frames"] == 30
    known = json.loads((folder / "stills" / "stills.json").read_text())["stills"]
    assert re.match(r"position \d+, (city|night), mIoU of its window 0\.\d\d", known[0]["caption"])
    assert len(known) == len(list((folder / "stills").glob("*.webp"))) >= 5
    (folder / "report.html").unlink()
    assert odkd("run.report=true", "evaluation.segment_frames=2") == folder  # the run is not repeated
    assert (folder / "report.html").is_file()
    first = (folder / "stills" / "00.webp").read_bytes()
    shutil.rmtree(folder / "stills")
    with pytest.raises(SystemExit) as done:
        main([str(folder), "--stills"])
    assert done.value.code == 0
    assert (folder / "stills" / "00.webp").read_bytes() == first


@pytest.mark.slow
def test_a_run_finishes_although_its_report_fails(odkd, monkeypatch, caplog, tmp_path: Path) -> None:
    monkeypatch.setattr(html, "TEMPLATES", tmp_path / "nowhere")
    html._environment.cache_clear()
    try:
        folder = odkd("run.report=true", "seed=7")
    finally:
        html._environment.cache_clear()
    assert read_run(folder).status == "finished"
    assert not (folder / "report.html").exists()
    assert f"odkd-report {folder}" in caplog.text
