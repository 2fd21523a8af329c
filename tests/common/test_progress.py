"""Long tasks show how far they are: a bar in a terminal, lines elsewhere; lines never tear a bar."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import in_terminal, screen

from odkd.common import progress as progress_module
from odkd.common.console import Console
from odkd.common.progress import Progress, tracked

TASK = """
import logging, sys, time
from odkd.common.console import IN_BAR, log_to_console, say
from odkd.common.progress import Progress, tracked
log_to_console()
log = logging.getLogger("task")
with Progress("sweep", "jobs", 2) as outer:
    for job in range(2):
        with Progress("labelled", "frames", 40) as progress:
            for number in range(1, 41):
                time.sleep(0.004)
                progress(number, shown=lambda: "mIoU 0.512")
                if number % 10 == 0:
                    log.info("line %d of job %d", number, job)
                    log.info("shown by the bar", extra=IN_BAR)
        say(f"job {job} is done")
        outer(job + 1)
log.info("the end")
"""


def test_in_a_terminal_a_bar_shows_rate_and_time_left_and_lines_stand_above_it(tmp_path: Path) -> None:
    written = in_terminal([sys.executable, "-c", TASK], folder=tmp_path)
    expected = [f"line {number} of job {job}" for job in range(2) for number in (10, 20, 30, 40)]
    expected.insert(4, "job 0 is done")
    assert screen(written) == [*expected, "job 1 is done", "the end"], "no line is torn, and no bar is left"
    assert "labelled: " in written
    assert "/40 frames, " in written
    assert "frames/s, " in written
    assert "left, mIoU 0.512" in written
    assert "sweep: " in written
    assert "shown by the bar" not in written


def test_a_bar_that_an_error_ends_leaves_the_last_line_whole(tmp_path: Path) -> None:
    task = TASK.replace('log.info("line', 'raise SystemExit(0)\n                    log.info("line')
    assert screen(in_terminal([sys.executable, "-c", task], folder=tmp_path)) == []


def test_without_a_terminal_lines_come_at_intervals_and_no_bar_is_drawn(tmp_path: Path) -> None:
    task = TASK.replace('"frames", 40)', '"frames", 40, seconds=0.05)').replace('"jobs", 2)', '"jobs", 2, seconds=60)')
    done = subprocess.run([sys.executable, "-c", task], capture_output=True, text=True, cwd=tmp_path, check=True)
    lines = done.stderr.splitlines()
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    own = [line for line in lines if line.startswith("labelled ")]
    assert 2 <= len(own) <= 20
    assert own[0].endswith(" left)")
    assert lines.count("shown by the bar") == 8


def test_a_job_that_shares_a_terminal_draws_no_bar_and_takes_none_apart(tmp_path: Path) -> None:
    task = TASK.replace("log = ", "from odkd.common.console import console\nconsole().share(3)\nlog = ")
    written = in_terminal([sys.executable, "-c", task], folder=tmp_path)
    assert "labelled:" not in written
    assert "#3  line 10 of job 0" in screen("labelled:  50%|####    | 20/40 frames" + written)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_line_says_how_many_how_fast_and_how_long_still(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), Progress("labelled", "frames", 100, done=20) as progress:
        for second in range(1, 11):
            now[0] = float(second)
            progress(20 + 4 * second, where=" of a.mp4")
    assert told(caplog) == [
        "labelled 40/100 frames of a.mp4 (4.0/s, 0:15 left)",
        "labelled 60/100 frames of a.mp4 (4.0/s, 0:10 left)",
    ]


def test_what_was_done_before_says_nothing_about_the_rate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), Progress("predicted", "frames", 100) as progress:
        progress.skip(90)
        now[0] = 5.0
        progress.advance(5)
    assert told(caplog) == ["predicted 95/100 frames (1.0/s, 0:05 left)"]


def test_items_pass_unchanged_and_an_early_end_closes_the_bar() -> None:
    assert list(tracked(range(3), "counted", "numbers")) == [0, 1, 2]
    for number in tracked(iter([1, 2]), "counted", "numbers", 2):
        if number == 1:
            break


def test_a_bar_asks_for_what_it_shows_only_when_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    stream, asked = io.StringIO(), list[int]()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [Console(stream)])
    with Progress("learned", "frames", 100_000) as progress:
        for number in range(1, 1001):
            progress(number, shown=lambda: str(asked.append(1)))
    assert len(asked) < 500, "ten times a second, not each time"
    assert "1000/100000" not in stream.getvalue() or stream.getvalue().count("\r") < 500
