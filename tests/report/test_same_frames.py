"""The page that compares runs shows the same frames of several runs, each as its student predicted them."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from compared_runs import add_run, settings
from report_pages import Page, check_page

from odkd.report import same_frames
from odkd.report.html_sweep import write_runs_report
from odkd.report.stills import write_stills


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    names = ("fifo", "uniform", "mir")
    for name in names:
        add_run(tmp_path, name, ["debug=smoke", f"+replay={name}"], settings(name, 6, 0), 0.5)
    return [tmp_path / "runs" / name for name in names]


def add_stills(folder: Path, positions: Sequence[int]) -> None:
    random = np.random.default_rng(0)
    frames = []
    for step, position in enumerate(positions):
        image_HWC, maps_2HW = (
            random.integers(0, 256, (24, 40, 3), np.uint8),
            random.integers(0, 3, (2, 24, 40), np.uint8),
        )
        frames.append((step, f"position {position}, day, mIoU of its window 0.50", image_HWC, *maps_2HW))
    write_stills(folder, frames, classes=["a", "b", "c"], palette=[[0, 0, 0]] * 3)


def shown(page: Path) -> list[str]:
    """Return the frames and the names of the runs below each of them, in order."""
    section = Page(page).source.partition("The same frames")[2].partition("</section>")[0]
    return re.findall("<(?:h3|b)>(.*?)<", section)


def test_frames_that_all_runs_show_are_beside_each_other(runs: list[Path], tmp_path: Path) -> None:
    add_stills(runs[0], [10, 30, 50])
    add_stills(runs[1], [10, 40, 50])

    page = write_runs_report(runs, tmp_path / "page.html")

    check_page(Page(page))
    names = ["#1 fifo.", "#2 uniform."]
    assert shown(page) == ["Position 10", *names, "Position 50", *names]


def test_one_run_with_stills_or_different_frames_are_no_comparison(runs: list[Path], tmp_path: Path) -> None:
    add_stills(runs[0], [10])
    assert "The same frames" not in write_runs_report(runs, tmp_path / "page.html").read_text()
    add_stills(runs[1], [20])
    assert "The same frames" not in write_runs_report(runs, tmp_path / "page.html").read_text()


def test_a_run_with_damaged_stills_is_left_out(
    runs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for run in runs:
        add_stills(run, [10])
    next(runs[0].glob("stills/*.webp")).write_bytes(b"no picture")

    page = write_runs_report(runs, tmp_path / "page.html")

    assert len(shown(page)) == 3
    assert "is damaged" in caplog.text
    shutil.rmtree(runs[1] / "stills")
    assert "The same frames" not in write_runs_report(runs, tmp_path / "page.html").read_text()


def test_the_last_frames_are_omitted_from_a_large_page(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in runs:
        add_stills(run, [10, 20, 30])
    whole = shown(write_runs_report(runs, tmp_path / "page.html"))
    sizes = [path.stat().st_size for path in sorted(runs[0].glob("stills/*.webp"))]
    monkeypatch.setattr(same_frames, "MOST_BYTES", int(1.4 * 3 * sum(sizes[:2])))  # as text they take 4/3 of that

    assert len(whole) == 12
    assert shown(write_runs_report(runs, tmp_path / "page.html")) == whole[:8]
