"""Tables and claims of docs/continual.md from fabricated runs, checked by hand; the study's commands are valid."""

import math
from datetime import UTC, datetime
from pathlib import Path

import continual
import continual_tables
import pytest
from continual_tables import claims_table, difference, table, write_page

from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config
from odkd.runs.results import Run


def fabricated(miou: float | None, learn_seconds: float = 1.0) -> Run:
    times = {"time/learn_seconds": learn_seconds, "time/learn_frames_per_second": 20 / learn_seconds}
    lines = [{"iteration": number, "metrics": {**times, "learn/loss_total": 1.0}} for number in range(3)]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    summary = {"mean/miou": miou, "mean_last/miou": miou, "mean_past/miou": None, "mean_future/miou": None}
    ending = {"title": "name", "updated": None, "sweep": None, "error": ""}
    return Run(
        Path(), "key", "name", "online", "finished", now, **ending, params={}, tags={}, metrics=lines, summary=summary
    )


ROWS = {
    "fifo": {0: fabricated(0.20), 1: fabricated(0.30)},
    "memoryless": {0: fabricated(0.10, 0.5), 1: fabricated(0.15, 0.5)},
    "uniform": {0: fabricated(0.25), 1: fabricated(0.29)},
}


def test_a_table_has_mean_spread_and_time_against_fifo() -> None:
    lines = table(ROWS).splitlines()
    assert lines[0].startswith("| method | mIoU | BWT |")
    fifo, memoryless, _ = (line.split(" | ") for line in lines[2:])
    assert fifo[:3] == ["| fifo", "25.0 ± 7.1", ""]  # 0.2 and 0.3; no score on past frames
    assert memoryless[-3:] == ["0.50", "60", "2 |"]  # 3 iterations of 20 frames each, one by one


def test_a_claim_has_its_smallest_difference_and_no_verdict() -> None:
    assert difference(ROWS, "mean/miou", [("fifo", "memoryless")]) == "+12.5 (2 of 2 seeds)"
    assert difference(ROWS, "mean/miou", [("memoryless", "fifo")]) == "-12.5 (0 of 2 seeds)"
    assert difference(ROWS, "mean/miou", [("uniform", "fifo")]) == "+2.0 (1 of 2 seeds)"
    assert difference(ROWS, "mean/miou", [("uniform", "memoryless"), ("uniform", "fifo")]) == "+2.0 (1 of 2 seeds)"
    assert difference(ROWS, "mean/miou", [("mir", "fifo")]) == ""  # not run
    assert (
        "| FIFO beats memoryless (twice and three times the updates) | mIoU | +12.5 (2 of 2 seeds) |"
        in claims_table({"synthetic": ROWS})
    )


def test_writing_a_page_replaces_its_tables_and_keeps_its_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table x -->\nold\n<!-- end -->\nb\n<!-- claims -->\n<!-- end -->\nc\n")
    for _ in range(2):  # the second time changes nothing
        write_page(page, {"x": ROWS})
        text = page.read_text()
        assert text.startswith("a\n<!-- table x -->\n| method |")
        assert "old" not in text
        assert text.endswith("<!-- end -->\nc\n")
    with pytest.raises(ValueError, match="no lines <!-- table y -->"):
        write_page(page, {"y": ROWS})


def test_undefined_scores_are_left_out_of_a_mean() -> None:
    assert continual_tables.cell([0.5, math.nan], 100, 1) == "50.0"
    assert continual_tables.cell([math.nan], 100, 1) == ""


@pytest.mark.slow
def test_every_row_of_the_study_is_a_valid_command(tmp_path: Path) -> None:
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "camvid_fpn_efficientnet_lite2.pth").touch()
    streams = {
        "synthetic": continual.StreamSettings("continual/synthetic", 60, 2),
        "camvid": continual.StreamSettings("continual/camvid", 40, 3, (f"dataset.root={tmp_path / 'camvid'}",)),
    }
    (tmp_path / "camvid" / "videos").mkdir(parents=True)
    jobs = list(continual.all_jobs(streams, [0, 1], tmp_path))
    assert len(jobs) == 2 * (1 + 2 * (len(continual.methods(streams["camvid"])) - 1))
    assert len({tuple(command) for *_, command in jobs}) == len(jobs)
    for *_, command in jobs[: len(jobs) // 2 + 1]:  # seed 0
        check_config(complete(compose_config(command)))
