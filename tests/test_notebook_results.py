"""notebooks/read_results.ipynb: committed clean, and what it reads from MLflow is what the runs say."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest
from conftest import TINY
from notebook_runner import assert_is_clean, run_notebook
from omegaconf import OmegaConf

NAME = "read_results.ipynb"


def test_the_notebook_is_committed_clean() -> None:
    assert_is_clean(NAME)


@pytest.mark.slow
def test_the_notebook_reads_the_numbers_of_the_runs(tmp_path: Path, cache: Path) -> None:
    tiny = [override for override in TINY if override not in ("tracking=none", "window.learn=6")]
    sweep = ["-m", *tiny, f"paths.cache={cache}", "window.learn=5,6", "seed=0,1"]
    subprocess.run([sys.executable, "-m", "odkd", *sweep], check=True, cwd=tmp_path, capture_output=True)
    found: dict[int, list[float]] = {5: [], 6: []}
    for folder in (tmp_path / "outputs" / "runs").iterdir():
        learn = OmegaConf.load(folder / "config.yaml").window.learn
        found[learn].append(json.loads((folder / "summary.json").read_text())["mean/miou"])
    table, curve = "table.to_dict('index')", "over_time.groupby('window.learn')['mean'].mean().to_dict()"
    paper = "paper[paper['column'] == 'mIoU'].set_index('window.learn')[['mean', 'n']].to_dict('index')"
    told = run_notebook(
        NAME, tmp_path, {"BY": "window.learn"}, [table, curve, paper, "len(everything)", "len(by_class)"]
    )
    assert told["len(everything)"] == 4
    assert told["len(by_class)"] == 2
    for learn, values in found.items():
        expected = {"mean": mean(values), "std": stdev(values), "count": 2}
        assert told[table][str(learn)] == pytest.approx(expected, abs=1e-6)
        assert told[curve][str(learn)] == pytest.approx(mean(values), abs=1e-6)  # the mean over iterations again
        assert told[paper][str(learn)] == pytest.approx({"mean": 100 * mean(values), "n": 2}, abs=1e-4)
