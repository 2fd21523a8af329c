"""The log of a job: kept until the run's folder is known, then appended to run.log."""

import logging
from pathlib import Path

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
