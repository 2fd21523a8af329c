"""A run of hundreds of iterations holds no more memory, handles or threads in the end, and makes few files."""

from pathlib import Path

import pytest
from soak import soak


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_run_grows_in_nothing_but_its_lines(tmp_path: Path) -> None:
    found = soak(tmp_path, 600, settled=200)
    assert found["mlflow_steps"] == found["iterations"] >= 599
    assert found["mlflow_twice"] == 0
    assert found["memory_growth"] < 0.01
    assert found["files"] <= found["watched"] / 50 + 3  # three: a lock, a checkpoint and a temporary file come and go
    assert found["most_threads"] < 12
    assert found["most_handles"] < 24
