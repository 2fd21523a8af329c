"""notebooks/read_results.ipynb: committed without outputs; the numbers it reads from MLflow are those of the runs."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from notebook_runner import assert_is_clean, run_notebook
from omegaconf import OmegaConf
from tiny_settings import TINY

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
    results = run_notebook(
        NAME, tmp_path, {"BY": "window.learn"}, [table, curve, paper, "len(everything)", "len(by_class)"]
    )
    assert results["len(everything)"] == 4
    assert results["len(by_class)"] == 2
    for learn, values in found.items():
        expected = {"mean": mean(values), "std": stdev(values), "count": 2}
        assert results[table][str(learn)] == pytest.approx(expected, abs=1e-6)
        assert results[curve][str(learn)] == pytest.approx(mean(values), abs=1e-6)  # also a mean over iterations
        assert results[paper][str(learn)] == pytest.approx({"mean": 100 * mean(values), "n": 2}, abs=1e-4)


METHOD = """
class Recent:
    def __init__(self, capacity): self.capacity, self.positions = capacity, []
    def select(self, num_positions, scorer): return self.positions[-num_positions:]
    def observe(self, fresh, scorer): self.positions = [*self.positions, *fresh][-self.capacity:]
    def kept(self): return self.positions
    def state_dict(self): return {"positions": self.positions}
    def load_state_dict(self, state): self.positions = state["positions"]
"""


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with four runs: a user-defined replay and one of odkd's, each with two capacities."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_replay.py").write_text(METHOD)
    (folder / "my_conf" / "replay").mkdir(parents=True)
    (folder / "my_conf" / "replay" / "recent.yaml").write_text("_target_: my_replay.Recent\ncapacity: 4\n")
    tiny = [override for override in TINY if override != "tracking=none"]
    sweep = ["allow_targets=[my_replay]", "replay=recent,fifo", "replay.capacity=4,10", "seed=1"]
    command = [sys.executable, "-m", "odkd", "--config-dir", "my_conf", "-m", *tiny, f"paths.cache={cache}", *sweep]
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "where", "config_dir"),
    [
        ("replay", {"replay.capacity": 4}, "my_conf"),
        ("replay.capacity", {"replay": "fifo"}, None),  # no user-defined method is compared
        ("replay.capacity", {}, "my_conf"),
    ],
    ids=["words", "numbers", "another setting differs too"],
)
def test_the_notebook_compares_a_user_defined_method(
    own_store: Path, by: str, where: dict[str, Any], config_dir: str | None
) -> None:
    found: dict[str, dict[str, float]] = {}
    for folder in (own_store / "outputs" / "runs").iterdir():
        params = json.loads((folder / "run.json").read_text())["params"]
        if all(params[key] == str(value) for key, value in where.items()):
            label = params[by] if where else f"{params[by]}, replay={params['replay']}"
            found.setdefault(params[by], {})[label] = json.loads((folder / "summary.json").read_text())["mean/miou"]
    assert len(found) == 2
    means = {value: mean(rows.values()) for value, rows in found.items()}
    table, curve = "table['mean'].to_dict()", f"over_time.groupby('{by}')['mean'].mean().to_dict()"
    paper, classes = f"paper[paper['column'] == 'mIoU'].set_index('{by}')['mean'].to_dict()", "by_class.index.tolist()"
    parameters = {"BY": by, "WHERE": where, "CONFIG_DIR": config_dir}
    results = run_notebook(
        NAME, own_store, parameters, [table, curve, paper, classes, "differing", "len(filled.missing)"]
    )
    assert results[table] == pytest.approx(means, abs=1e-6)
    assert results[curve] == pytest.approx(means, abs=1e-6)
    rows = {label: 100 * value for labelled in found.values() for label, value in labelled.items()}
    assert results[paper] == pytest.approx(rows, abs=1e-4)
    assert results[classes] == (["fifo", "recent"] if by == "replay" else [4, 10])
    assert results["len(filled.missing)"] == 0
    assert ("replay" in results["differing"]) == (not where)
