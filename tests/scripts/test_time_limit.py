"""The time limit of a test session: what it runs, what it skips, and where it begins."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_limit
from paths import ROOT

FILE = """
import time, pytest
@pytest.mark.parametrize("number", range(6))
def test_a(number):
    time.sleep(2)
"""


def session(seconds: float | None) -> Any:
    return SimpleNamespace(getoption=lambda _: seconds, rootpath=ROOT)


def test_a_test_begins_only_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(time_limit.DEADLINE, raising=False)
    item = SimpleNamespace(config=session(100))
    time_limit.pytest_configure(item.config)
    time_limit.skip_if_late(item)  # type: ignore[arg-type]
    assert time.time() < float(os.environ[time_limit.DEADLINE]) < time.time() + 101
    monkeypatch.setenv(time_limit.DEADLINE, str(time.time() - 1))
    with pytest.raises(pytest.skip.Exception, match="not run: the 100 s of --seconds are over"):
        time_limit.skip_if_late(item)  # type: ignore[arg-type]
    time_limit.skip_if_late(SimpleNamespace(config=session(None)))  # type: ignore[arg-type]


def test_the_commit_decides_the_first_test_and_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for head, expected in {"c": [5, 6, 0, 1, 2, 3, 4], "": [0, 1, 2, 3, 4, 5, 6]}.items():
        monkeypatch.setattr(time_limit, "commit", lambda _, head=head: head)
        items: list[Any] = list(range(7))
        time_limit.pytest_collection_modifyitems(session(10), items)
        assert items == expected
    items = [1, 2, 3]
    time_limit.pytest_collection_modifyitems(session(None), items)
    assert items == [1, 2, 3]


def test_without_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert time_limit.commit(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    assert int(time_limit.commit(tmp_path), 16) > 0


@pytest.mark.slow
@pytest.mark.parametrize("processes", [[], ["-n", "2"]])
def test_the_rest_of_a_session_is_counted(tmp_path: Path, processes: list[str]) -> None:
    hooks = "pytest_addoption, pytest_collection_modifyitems, pytest_configure, skip_if_late"
    (tmp_path / "conftest.py").write_text(f"from time_limit import {hooks}\n\npytest_runtest_setup = skip_if_late\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT / 'tests' / 'helpers'}\n")
    (tmp_path / "test_it.py").write_text(FILE)
    seconds = 0.0
    for _ in range(4):  # until the machine begins within the time
        seconds += 6
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", f"--seconds={seconds}", *processes]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        if passed := sum(f"{number} passed" in printed and number for number in range(1, 7)):
            break
    assert passed == 6 or f"{passed} passed, {6 - passed} skipped" in printed
    assert passed == 6 or f"not run: the {seconds:.0f} s of --seconds are over" in printed
    assert passed
