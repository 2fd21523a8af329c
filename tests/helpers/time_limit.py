"""`--seconds N`: no test of a session begins after N seconds; which ones come first, the commit decides.

So a machine of any speed ends in time, and over a few commits all tests have run. What did not run is skipped and
counted in the summary: it is no proof of anything.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest

DEADLINE = "ODKD_TESTS_UNTIL"  # seconds since 1970, for the processes of pytest-xdist too


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, help="begin no test after so many seconds; the commit decides the order")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--seconds") is not None and not hasattr(config, "workerinput"):
        os.environ[DEADLINE] = str(time.time() + config.getoption("--seconds"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin at a place that the commit decides, the same in all processes."""
    if config.getoption("--seconds") is not None and items:
        first = int(commit(config.rootpath) or "0", 16) % len(items)
        items[:] = items[first:] + items[:first]


def skip_if_late(item: pytest.Item) -> None:
    """Skip a test for which no time is left."""
    seconds = item.config.getoption("--seconds")
    if seconds is not None and time.time() > float(os.environ[DEADLINE]):
        pytest.skip(f"not run: the {seconds:.0f} s of --seconds are over")


def commit(folder: Path) -> str:
    """Return the commit of a checkout in hexadecimal; nothing where there is none."""
    command = ["git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
