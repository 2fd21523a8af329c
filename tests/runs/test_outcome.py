"""The log of a job: kept until the run's folder is known, then appended to run.log."""

import logging
from pathlib import Path

import pytest

from odkd.runs.outcome import JobLog


def test_a_log_is_kept_in_memory_until_its_file_is_known(tmp_path: Path) -> None:
    logger = logging.getLogger("odkd.test")
    logger.setLevel(logging.INFO)
    with JobLog() as log:
        logger.info("early")
        log.move_to(tmp_path / "run.log")
        logger.info("late")
    logger.info("after")
    with JobLog() as log:
        log.move_to(tmp_path / "run.log")
        logger.info("resumed")
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["early", "late", "resumed"]


def test_a_log_that_the_disk_refuses_is_said_once_and_hides_no_other_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("odkd.test")
    with JobLog() as log:
        log.move_to(tmp_path / "missing" / "run.log")
        logger.warning("a line")
        log.write_error(ValueError("the cause"))
    said = capsys.readouterr().err
    assert said.count("lacks what the log says from here on (No such file or directory)") == 1
    assert "Traceback" not in said
