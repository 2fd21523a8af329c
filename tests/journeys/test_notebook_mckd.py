"""notebooks/mckd_demo.ipynb: committed without outputs; its numbers are those of the run."""

import json
from pathlib import Path

import pytest
from notebook_runner import assert_is_clean, run_notebook
from PIL import Image
from tiny_settings import TINY

NAME = "mckd_demo.ipynb"
SHAPES = "{fit: labels.shape for fit, (_, labels) in own.items()}"


def test_the_notebook_is_committed_clean() -> None:
    assert_is_clean(NAME)


@pytest.mark.slow
def test_the_notebook_shows_the_numbers_of_its_run(tmp_path: Path, cache: Path) -> None:
    overrides = [
        *TINY,
        f"paths.cache={cache}",
        "stage=mckd",
        "stage.num_rounds=3",
        "stage.epochs=2",
        "stage.shares=[.6,.2,.2]",
    ]
    noisy = ["optimizer.lr=1e-3", "teacher.label_noise=0.1"]
    own = tmp_path / "own.png"
    Image.new("RGB", (90, 50), (90, 90, 90)).save(own)
    found = run_notebook(
        NAME,
        tmp_path,
        {
            "OVERRIDES": [*overrides, *noisy],
            "OUTPUTS": "outputs",
            "PICTURES": [0, 3],
            "OWN_PICTURE": str(own),
            "FIGURES": "figures",
        },
        ["mious", "rows", "agreement", SHAPES],
    )
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    students = [f"round_{round_}/student_{number}" for round_ in (1, 2) for number in (0, 1)]
    expected = {name.replace("_", " ").replace("/", ", "): summary[f"{name}/miou_groundtruth"] for name in students}
    expected |= {"final student": summary["final/miou_groundtruth"], "teacher": summary["teacher/miou_groundtruth"]}
    assert found["mious"] == pytest.approx(expected | {"ground truth": 1.0}, abs=1e-6)
    assert len({round(miou, 6) for miou in found["mious"].values()}) == 7  # seven different label maps
    handed_on = {"teacher": "round_1", "students of round 1": "round_2", "students of round 2": "final"}
    for labels, stage in handed_on.items():
        noise = found["rows"][labels]
        assert noise["mIoU"] == pytest.approx(summary[f"{stage}/labels/miou_groundtruth"], abs=1e-6)
        assert noise["right pixels"] == pytest.approx(summary[f"{stage}/labels/accuracy_groundtruth"], abs=1e-6)
    for stage in (1, 2):
        equal = found["agreement"][f"round {stage}"]["same class"]
        assert equal == pytest.approx(summary[f"round_{stage}/agreement/equal_pixels"], abs=1e-6)
    assert found[SHAPES] == {"stretch": [50, 90], "crop": [50, 75], "pad": [50, 90]}
    widths = {}
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as figure:
            widths[path.stem] = figure.width
    assert widths.keys() == {"students", "labels", "own"}
    assert widths["students"] > 2 * widths["own"]  # eight pictures side by side, and three
