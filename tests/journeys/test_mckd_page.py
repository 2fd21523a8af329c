"""Tables of docs/mckd.md from fabricated runs, checked by hand; the study's commands compose and cost the same."""

from datetime import UTC, datetime
from pathlib import Path

import mckd
import mckd_surface
import numpy as np
import pytest
import surface_page

from odkd.config.compose import complete, compose_config
from odkd.runs.results import Run


def fabricated(**summary: float | None) -> Run:
    named = {name.replace("__", "/"): value for name, value in summary.items()}
    now, ending = datetime(2026, 1, 1, tzinfo=UTC), {"title": "name", "updated": None, "sweep": None, "error": ""}
    return Run(Path(), "key", "name", "mckd", "finished", now, **ending, params={}, tags={}, metrics=[], summary=named)


def test_a_table_has_one_row_for_each_method_and_empty_cells_for_missing_scores() -> None:
    lines = mckd.table(
        {
            "plain distillation": {
                0: fabricated(final__miou_groundtruth=0.5),
                1: fabricated(final__miou_groundtruth=0.52),
            },
            "MCKD": {0: fabricated(final__miou_groundtruth=None, round_1__agreement__miou=0.3)},
        }
    ).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert dict(zip(cells[0], cells[2], strict=True))["final student"] == "51.0 ± 1.4"
    assert dict(zip(cells[0], cells[3], strict=True)) == {
        "": "MCKD",
        "the teacher": "",
        "first student of round 1": "",
        "their agreement": "30.0",
        "labels of the final student": "",
        "final student": "",
        "against the teacher": "",
        "updates, a student of round 1": "",
        "updates, final student": "",
        "runs": "1",
    }


@pytest.mark.slow
def test_the_methods_of_a_table_cost_the_same() -> None:
    jobs = list(mckd.all_jobs(("synthetic", "camvid", "camvid imagenet"), Path("camvid"), [0, 1], Path("outputs")))
    epochs: dict[str, set[int]] = {}
    for job in jobs:
        cfg = complete(compose_config(job.command))
        assert cfg.stage.patience is None
        assert cfg.stage.best_against == ("teacher" if cfg.stage.uses_teacher else None)  # all chosen alike
        assert cfg.seed == job.seed
        epochs.setdefault(job.table, set()).add(cfg.stage.epochs * cfg.stage.num_rounds)
    assert epochs == {"synthetic": {40, 39}, "camvid": {40}, "camvid imagenet": {16}}  # 39: 3 rounds of 13 epochs


@pytest.mark.slow
def test_students_never_learn_from_the_few_labels_of_their_teacher(camvid: Path) -> None:
    jobs = list(mckd.all_jobs(("few labels",), camvid, [1], Path("outputs")))
    for job in jobs:
        assert job.teacher is not None
        taught, made = (complete(compose_config(command)) for command in (job.command, job.teacher))
        assert (taught.stage.labelled_share, taught.seed) == (made.stage.labelled_share, made.seed)
        assert (taught.stage.learn_from, made.stage.learn_from) == ("teacher", "groundtruth")
        assert taught.teacher.checkpoint == f"{mckd.folder_of(job.teacher)}/teacher.pth"
    assert len({tuple(job.teacher or ()) for job in jobs}) == 3  # shares


@pytest.mark.slow
def test_only_finished_runs_are_in_the_page(tmp_path: Path) -> None:
    jobs = list(mckd.all_jobs(("synthetic",), Path("camvid"), [0], tmp_path))
    assert mckd.read_all(jobs) == {}
    folder = mckd.folder_of(jobs[0].command)
    folder.mkdir(parents=True)
    record = '{"key": "k", "name": "n", "stage": "distill", "status": "finished", "params": {}, "tags": {}'
    (folder / "run.json").write_text(record + ', "created": "2026-01-01T00:00:00+00:00"}')
    assert mckd.read_all(jobs) == {}
    (folder / "summary.json").write_text('{"final/miou_groundtruth": 0.25}')
    found = mckd.read_all(jobs)
    assert list(found["synthetic"]) == ["plain distillation"]
    assert "| 25.0 |" in mckd.table(found["synthetic"])


def surface_runs(gain: float, seeds: int = 3) -> dict[tuple[str, str, str], dict[int, Run]]:
    """Return both runs of one cell: MCKD is `gain` better than plain distillation, give or take 0.01."""
    pairs = {
        seed: fabricated(
            plain__labels__miou_groundtruth=0.2,
            final__labels__miou_groundtruth=0.35,
            round_1__student_0__miou_groundtruth=0.33,
            plain__miou_groundtruth=0.4,
            final__miou_groundtruth=0.4 + gain + 0.01 * (seed - 1),
        )
        for seed in range(seeds)
    }
    half = {seed: fabricated(final__miou_groundtruth=0.3) for seed in range(1, 5)}
    return {("small", "pixels", surface_page.PAIR): pairs, ("small", "pixels", surface_page.HALF): half}


def test_a_cell_of_the_surface_has_the_seeds_of_both_runs_and_splits_the_gain() -> None:
    lines = surface_page.surface(surface_runs(-0.05)).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert dict(zip(cells[0], cells[2], strict=True)) == {
        "student": "small",
        "the teacher's errors": "pixels",
        "labels: teacher": "20.0 ± 0.0",
        "labels: pair": "35.0 ± 0.0",
        "a student of the pair": "33.0 ± 0.0",
        "plain, half the updates": "30.0 ± 0.0",
        "plain": "40.0 ± 0.0",
        "MCKD": "35.5 ± 0.7",  # seeds 1 and 2: 35 and 36
        "MCKD - plain": "-4.5 ± 0.7",
        "by the labels": "5.5 ± 0.7",
        "by fewer updates": "-10.0 ± 0.0",
        "runs": "2",
    }


def test_only_differences_beyond_their_spread_are_marked() -> None:
    pairs = {
        ("a", "clear"): np.array([5.0, 5.1, 4.9]),
        ("a", "chance"): np.array([5.0, -4.0, 1.0]),
        ("a", "lower"): np.array([-3.0, -3.1, -2.9]),
        ("a", "alone"): np.array([7.0]),
    }
    assert [mark for _, mark in sorted(surface_page.arrows(pairs).items())] == ["", "", "↑", "↓"]


def test_the_surface_has_a_figure_with_a_column_for_each_student() -> None:
    runs = surface_runs(0.02) | {("large", *place[1:]): found for place, found in surface_runs(-0.02).items()}
    figure = surface_page.draw(runs)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["small", "large"]
    assert len(figure.axes) == 4


@pytest.mark.slow
def test_the_cells_of_the_surface_have_equal_updates() -> None:
    jobs = list(mckd_surface.all_jobs(list(mckd_surface.SETTINGS), Path("camvid"), [0], Path("outputs")))
    cells = {(job.setting, job.error) for job in jobs}
    assert len(cells) >= 24
    for job in jobs:
        cfg = complete(compose_config(job.command))
        whole = mckd_surface.SETTINGS[job.setting].epochs
        assert (cfg.stage.patience, cfg.stage.best_against, cfg.seed) == (None, "teacher", 0)
        passes = cfg.stage.epochs * cfg.stage.get("num_rounds", 1)
        assert whole - 2 <= passes * (2 if job.method == surface_page.HALF else 1) <= whole
        if job.method == surface_page.PAIR:
            assert cfg.stage.plain_epochs == whole
    alone = [job for job in jobs if job.teacher is None and job.setting != mckd_surface.CAMVID]
    folders = [mckd_surface.folder_of(job.command) for job in alone]
    assert len(set(folders)) == len(folders)  # no two are the same run
