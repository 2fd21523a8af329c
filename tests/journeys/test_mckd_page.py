"""Tables of docs/mckd.md from fabricated runs, checked by hand; the study's commands compose and cost the same."""

from datetime import UTC, datetime
from pathlib import Path

import mckd
import pytest

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
