"""The environment of a run, as short jobs ask for it again and again."""

import subprocess
from typing import Any

import pytest
import torch

from odkd.runs.environment import environment, git_state


def test_short_jobs_ask_git_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real, now = subprocess.run, 1000.0

    def run(command: Any, **options: Any) -> Any:
        asked.extend([command] if command[0] == "git" else [])
        return real(command, **options)

    monkeypatch.setattr("odkd.runs.environment.time.monotonic", lambda: now)
    monkeypatch.setattr("odkd.runs.environment.subprocess.run", run)
    git_state.cache_clear()
    first = environment(torch.device("cpu"))
    num_asked = len(asked)
    assert num_asked >= 2
    now += 10
    assert environment(torch.device("cpu")) == first
    assert len(asked) == num_asked
    now += 60
    assert environment(torch.device("cpu")) == first
    assert len(asked) == 2 * num_asked


def test_the_number_of_threads_is_stored_with_the_run() -> None:
    text = environment(torch.device("cpu"))["odkd.threads"]
    assert text.startswith(f"{torch.get_num_threads()} thread")
