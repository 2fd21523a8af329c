"""Comparisons of runs: factors, configurations over seeds, effects, Pareto front, and their reports."""

import itertools
import json
import math
import os
import shutil
from pathlib import Path

import pytest
from compared_runs import SCORE, add_run, entries, settings
from report_pages import HOSTILE, Page, check_page

from odkd.commands.report import main
from odkd.report import values
from odkd.report.comparison import pareto, statistics
from odkd.report.entries import KEPT, Entry
from odkd.report.factors import compare
from odkd.report.html_sweep import write_runs_report, write_sweep_report
from odkd.runs.results import read_run

MIOU = {("fifo", 6): (0.1, 0.3), ("fifo", 12): (0.5, 0.5), ("uniform", 6): (0.4, 0.6), ("uniform", 12): (0.6, 0.8)}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for replay, learn, seed in itertools.product(("fifo", "uniform"), (12, 6), (0, 1)):
        overrides = [
            "debug=smoke",
            f"+replay={replay}",
            f"window.learn={learn}",
            f"seed={seed}",
            f"paths.outputs=x{seed}",
        ]
        miou = MIOU[replay, learn][seed]
        add_run(tmp_path, f"{replay}-{learn}-{seed}", overrides, settings(replay, learn, seed), miou)
    return tmp_path


def test_factors_are_the_swept_settings_and_seeds_share_a_configuration(outputs: Path) -> None:
    found = compare(entries(outputs))
    assert list(found.factors) == ["replay", "window.learn"]  # replay.capacity and warmup follow from these
    assert found.levels("window.learn") == ["6", "12"]  # sorted as numbers
    assert found.levels("replay") == ["fifo", "uniform"]
    assert [(c.number, c.levels, len(c.entries)) for c in found.configurations] == [
        (number, (replay, str(learn)), 2) for number, (replay, learn) in enumerate(MIOU, 1)
    ]
    by_levels = {c.levels: c.statistics(SCORE) for c in found.configurations}
    assert by_levels["fifo", "6"] == pytest.approx((0.2, math.sqrt(0.02), 2))


def test_only_the_metrics_that_the_page_shows_are_kept(outputs: Path) -> None:
    folder = outputs / "runs" / "fifo-6-0"
    entry, whole = Entry.read(folder), read_run(folder)
    assert [line["position"] for line in entry.run.metrics] == [0, 20, 40, 60]
    assert {key for line in entry.run.metrics for key in line["metrics"]} <= KEPT
    assert any("test/iou/road" in line["metrics"] for line in whole.metrics)
    assert entry.learn_seconds == pytest.approx(16.0)
    assert values(entry.run.metrics, "test/miou").tolist() == values(whole.metrics, "test/miou").tolist()


def test_a_main_effect_is_the_mean_over_all_configurations_with_the_value(outputs: Path) -> None:
    found = compare(entries(outputs))
    # fifo: configurations 0.2 and 0.5; uniform: 0.5 and 0.7. The deviation is over the two, not over the seeds.
    assert found.effect({"replay": "fifo"}, SCORE) == pytest.approx((0.35, math.sqrt(0.045), 2))
    assert found.effect({"replay": "uniform"}, SCORE) == pytest.approx((0.6, math.sqrt(0.02), 2))
    mean, deviation, count = found.effect({"replay": "fifo", "window.learn": "6"}, SCORE)
    assert (mean, count) == (pytest.approx(0.2), 1)
    assert math.isnan(deviation)
    assert found.effect({"replay": "fifo", "window.learn": "7"}, SCORE)[2] == 0


def test_runs_of_different_experiments_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    add_run(tmp_path, "a", ["experiment=a"], settings("fifo", 6, 0, evaluation={"predictor": "teacher"}), 1.0)
    add_run(tmp_path, "b", ["experiment=b"], settings("fifo", 6, 0), 0.5)
    add_run(tmp_path, "c", ["experiment=b", "stage.order=shuffled"], settings("fifo", 9, 0, optimizer={"lr": 0.1}), 0.6)
    found = compare(entries(tmp_path))
    assert list(found.factors) == ["experiment", "stage.order"]  # all other settings follow from these
    no_overrides = [Entry(entry.run, entry.settings, {}) for entry in entries(tmp_path)]
    assert list(compare(no_overrides).factors) == ["window.learn", "evaluation.predictor"]
    assert found.effect({"experiment": "a"}, SCORE)[2] == 0  # the teacher itself is not compared
    assert found.levels("experiment", SCORE) == ["b"]


def test_a_data_folder_given_as_override_is_a_factor(tmp_path: Path) -> None:
    for name, miou in (("cityA", 0.2), ("cityB", 0.8)):
        config = settings("fifo", 6, 0, dataset={"root": f"data/{name}"})
        add_run(tmp_path, name, [f"dataset.root=data/{name}"], config, miou)
    found = compare(entries(tmp_path))
    assert list(found.factors) == ["dataset.root"]
    assert [(c.levels, c.statistics(SCORE)[0]) for c in found.configurations] == [
        (("data/cityA",), 0.2),
        (("data/cityB",), 0.8),
    ]
    not_asked = compare([Entry(entry.run, entry.settings, {}) for entry in entries(tmp_path)])  # copies of the data
    assert len(not_asked.configurations) == 1


def tag(folder: Path, **tags: str) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["tags"] |= {f"odkd.{name}_digest": digest * 8 for name, digest in tags.items()}
    (folder / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "word"),
    [("dataset", "data"), ("groundtruth", "true labels"), ("teacher", "teacher's identity"), ("code", "own code")],
)
def test_runs_with_different_content_are_different_configurations(tmp_path: Path, name: str, word: str) -> None:
    for seed, digest in itertools.product((0, 1), ("11112222", "4d5e6f70")):
        folder = add_run(tmp_path, f"{digest}-{seed}", [f"seed={seed}"], settings("fifo", 6, seed), seed / 4)
        tag(folder, **{"dataset": "a", "teacher": "b"} | {name: digest})
    found = compare(entries(tmp_path))
    assert list(found.factors) == [word]
    assert [(c.levels, len(c.entries)) for c in found.configurations] == [
        ((f"{word} 111122",), 2),
        ((f"{word} 4d5e6f",), 2),
    ]
    page = Page(write_runs_report(sorted((tmp_path / "runs").iterdir()), tmp_path / "all.html"))
    check_page(page)
    assert f"best mIoU against teacher: row 1: {word} 111122" in page.text
    assert not found.is_continuous(word)


def test_content_that_follows_from_a_setting_is_not_a_factor(tmp_path: Path) -> None:
    for seed, stride in itertools.product((0, 1), (1, 2)):
        config = settings("fifo", 6, seed, dataset={"stride": stride})
        tag(add_run(tmp_path, f"{stride}-{seed}", [f"dataset.stride={stride}"], config, 0.5), dataset=f"{stride}")
    found = compare(entries(tmp_path))
    assert list(found.factors) == ["dataset.stride"]
    assert [len(c.entries) for c in found.configurations] == [2, 2]


def test_trainings_over_epochs_are_not_compared_with_streams(tmp_path: Path) -> None:
    add_run(tmp_path, "a", ["stage=online"], settings("fifo", 6, 0, stage={"name": "online"}), 0.5)
    epochs = add_run(tmp_path, "b", ["stage=mckd"], settings("fifo", 6, 0, stage={"name": "mckd"}), 0.6)
    (epochs / "run.json").write_text((epochs / "run.json").read_text().replace('"stage": "online"', '"stage": "mckd"'))
    (epochs / "summary.json").write_text(json.dumps({"num_trainings": 1, "final/miou_groundtruth": 0.77}))
    both, one = tmp_path / "both.html", tmp_path / "one.html"
    mixed, alone = (
        Page(write_runs_report([tmp_path / "runs" / "a", epochs], both)),
        Page(write_runs_report([epochs], one)),
    )
    assert "final mIoU against ground truth (test split)" in mixed.text
    assert "0.7700" in mixed.text
    assert "best mIoU" not in mixed.text  # two scores on different data
    assert not any("0.77" in image["alt"] or "Pareto" in image["alt"] for image in mixed.all("img"))
    assert "0.7700" in alone.text


def test_every_drawn_setting_of_a_search_is_a_factor_even_if_one_separates_all_trials(tmp_path: Path) -> None:
    for number in range(4):
        lr, learn = 10.0**-number, 6 + number % 2
        overrides = [f"optimizer.lr={lr}", f"window.learn={learn}"]
        add_run(tmp_path, f"t{number}", overrides, settings("fifo", learn, 0, optimizer={"lr": lr}), 0.1 * number)
    assert list(compare(entries(tmp_path)).factors) == ["optimizer.lr", "window.learn"]


def test_the_pareto_front_has_the_points_that_no_other_beats_in_both() -> None:
    costs, scores = [3.0, 1.0, 2.0, 1.0, 4.0, math.nan], [0.5, 0.2, 0.4, 0.3, 0.5, 0.9]
    front = pareto(costs, scores)
    assert front == [3, 2, 0]  # cheapest first; point 4 costs more than 0 for the same score
    for index in front:
        assert not any(c <= costs[index] and s > scores[index] for c, s in zip(costs, scores, strict=True))
    assert statistics([math.nan])[2] == 0


def sweep(outputs: Path, **changes: object) -> Path:
    """Write a sweep folder over the runs of `outputs`, with a failed job, a job not run, and one without a folder."""
    add_run(outputs, "broken", ["replay=mir", "window.learn=6"], settings("mir", 6, 0), None)
    jobs = [
        {
            "number": number,
            "overrides": (folder / "overrides.txt").read_text().split(),
            "run": f"runs/{folder.name}",
            "status": "failed" if folder.name == "broken" else "skipped",
            "seconds": 61.0,
            "value": 0.5,
            "metric": "total/miou",
            "error": None,
        }
        for number, folder in enumerate(sorted((outputs / "runs").iterdir()))
    ]
    nothing = {"number": 9, "overrides": [HOSTILE], "run": None, "status": "not_run", "seconds": None, "value": None}
    gone = {"number": 10, "overrides": ["a=b"], "run": "runs/javascript:alert(1)", "status": "failed", "seconds": 1.0}
    folder = outputs / "sweeps" / "mine-0123"
    folder.mkdir(parents=True)
    record = {"key": "0123456789", "name": f"mine {HOSTILE}", "command": "odkd -m replay=fifo,uniform", "overrides": []}
    record |= {"varying": [], "seconds": 550.0, "metric": None}
    record |= {"status": "failed", "created": "2026-11-22T08:43:00+00:00"}
    jobs += [nothing | {"error": HOSTILE}, gone | {"value": None, "error": None}]
    (folder / "sweep.json").write_text(json.dumps(record | {"jobs": jobs} | changes))
    return folder


def test_the_report_of_a_sweep_shows_its_jobs_and_comparison(outputs: Path) -> None:
    page = Page(write_sweep_report(sweep(outputs)))
    check_page(page)
    for found in ("8 finished", "2 failed", "1 not run", "9 min 10 s", "odkd -m replay=fifo,uniform", HOSTILE):
        assert found in page.text
    for found in (
        "0.7000 ± 0.1414",
        "best mIoU against teacher: row 5: replay=uniform, window.learn=12",
        "0.3500 ± 0.2121",
    ):
        assert found in page.text
    assert "mIoU over the stream, against teacher, mean over seeds" in page.text
    assert "Names are the number of a configuration, followed by its replay, window.learn, debug." in page.text
    assert "total/miou" in page.text  # the metric of the jobs' values
    assert "0 of 1" in page.text  # the failed run is listed but not in a mean
    titles = [image["alt"] for image in page.all("img")]
    assert [title.partition(" ")[0] for title in titles] == ["One", "Heat", "Scatter", "Chart:"]
    links = {link["href"] for link in page.all("a")}
    assert "./../../runs/fifo-6-0/report.html" in links
    assert "./../../runs/javascript%3Aalert%281%29/report.html" in links


@pytest.mark.parametrize("moved", ["runs", "sweeps"])
def test_links_work_if_runs_or_sweeps_are_on_another_disk(
    outputs: Path, moved: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sweep(outputs)
    scratch = tmp_path_factory.mktemp("scratch") / "deep" / moved
    shutil.move(outputs / moved, scratch)
    (outputs / moved).symlink_to(scratch, target_is_directory=True)
    monkeypatch.chdir(outputs.parent)
    for path in (folder, folder.relative_to(outputs.parent)):
        page = Page(write_sweep_report(path))
        assert "0.7000 ± 0.1414" in page.text  # the runs were found
        assert "./../../runs/fifo-6-0/report.html" in {link["href"] for link in page.all("a")}
    two = write_runs_report([outputs / "runs" / "fifo-6-0", outputs / "runs" / "uniform-6-0"], outputs / "two.html")
    assert {link["href"] for link in Page(two).all("a")} == {
        "./runs/fifo-6-0/report.html",
        "./runs/uniform-6-0/report.html",
    }


def test_jobs_that_a_second_call_skips_have_finished(outputs: Path) -> None:
    folder = sweep(outputs)
    runs = sorted((outputs / "runs").iterdir())
    (runs[-1] / "run.json").write_text(
        json.dumps(json.loads((runs[-1] / "run.json").read_text()) | {"updated": 1.8e9})  # 2027-01-15 08:00 UTC
    )
    page = Page(write_sweep_report(folder))
    assert "skipped" not in page.text
    assert "finished before" in page.text  # in the table of jobs
    assert "last run ended 2027-01-15 08:00 UTC" in " ".join(page.text.split())


ODD_RUNS = ("runs/" + "x" * 5000, "runs/\ud800", "runs/a\0b", "runs/pipe", "runs/..", ".", "{elsewhere}", "../{name}")


def test_a_job_with_an_odd_run_is_listed_and_the_sound_ones_are_compared(
    outputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = sweep(outputs)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(outputs / "runs" / "uniform-12-0", elsewhere / "run")  # of which nothing may be read
    (elsewhere / "run").rename(outputs.parent / "run-outside")
    (outputs / "runs" / "pipe").mkdir()
    os.mkfifo(outputs / "runs" / "pipe" / "run.json")
    record = json.loads((folder / "sweep.json").read_text())
    record["jobs"] = [job for job in record["jobs"] if job["run"] != "runs/uniform-12-0"]
    for number, run in enumerate(ODD_RUNS, 20):
        named = run.format(elsewhere=outputs.parent / "run-outside", name="run-outside")
        record["jobs"].append(record["jobs"][0] | {"number": number, "run": named, "seconds": 1e308})
    (folder / "sweep.json").write_text(json.dumps(record))
    page = Page(write_sweep_report(folder))
    check_page(page)
    assert "0.2000 ± 0.1414" in page.text  # of fifo-6
    assert "0.7000" not in page.text  # of uniform-12, with both of its runs
    assert not any("run-outside" in link["href"] for link in page.all("a"))


def test_an_unknown_folder_is_answered_with_the_most_similar_run(outputs: Path, capsys: pytest.CaptureFixture) -> None:
    sweep(outputs)
    wrong = outputs / "runs" / "unifrom-6-0"
    for arguments in ([str(wrong)], ["--runs", str(wrong)]):
        with pytest.raises(SystemExit):
            main(arguments)
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{wrong} does not exist; expected a run folder; {outputs} has 9 runs and 0 sweeps" in line
        assert line.endswith(f"most similar: {outputs / 'runs' / 'uniform-6-0'}")
    with pytest.raises(SystemExit):
        main([str(outputs)])
    assert "is neither a run nor a sweep" in capsys.readouterr().err


def test_a_sweep_without_jobs_has_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "s"
    folder.mkdir(parents=True)
    record = {"key": "k", "name": "s", "command": "odkd -m", "overrides": [], "status": "running", "created": ""}
    record |= {"varying": [], "seconds": 0.0, "metric": None}
    (folder / "sweep.json").write_text(json.dumps(record | {"jobs": []}))
    page = Page(write_sweep_report(folder))
    check_page(page)
    assert "There are no runs to compare yet." in page.text
    (folder / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged: it holds no JSON"):
        write_sweep_report(folder)


def test_the_command_makes_pages_of_runs_sweeps_and_sets_of_runs(outputs: Path, capsys: pytest.CaptureFixture) -> None:
    folder, run = sweep(outputs), outputs / "runs" / "fifo-6-0"
    with pytest.raises(SystemExit) as done:
        main([str(folder), str(run)])
    assert done.value.code == 0
    assert capsys.readouterr().out.split() == [str(folder / "report.html"), str(run / "report.html")]
    page = outputs / "two.html"
    with pytest.raises(SystemExit) as done:
        main(["--runs", str(run), str(outputs / "runs" / "uniform-6-0"), "--output", str(page)])
    assert done.value.code == 0
    assert "2 runs" in Page(page).text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name run or sweep folders"),
        (["x", "--output", "y"], 2, "the page of --runs"),
        (["x"], 1, "x does not exist; expected a run folder, such as outputs/runs/NAME-KEY; there is none in"),
        (["--runs", "x"], 1, "expected a run folder"),
        (["--runs", "x", "--output", "."], 1, "name a file"),
    ],
)
def test_a_wrong_command_is_answered_in_one_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == code
    assert message in capsys.readouterr().err
