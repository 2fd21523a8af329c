"""The `odkd` command as a process: messages, help, what it prints, and user-defined methods."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHEAP = ["debug=smoke", "tracking=none", "run.report=false"]


def odkd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    command = [sys.executable, "-m", "odkd", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_the_command_prints_a_mistake_as_one_message(tmp_path: Path) -> None:
    done = odkd(tmp_path, "window.lern=3")
    assert done.returncode == 2
    assert done.stderr == "odkd: there is no setting or group window.lern; did you mean window.learn?\n"
    done = odkd(tmp_path, "-m", *CHEAP, "window.lern=3", "seed=0,1")
    assert done.returncode == 2
    assert "did you mean window.learn?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_module_that_cannot_be_imported_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "half_done.py").write_text("class Newest:\n    keep = how_many\n")
    done = odkd(tmp_path, *CHEAP, "replay._target_=half_done.Newest", "allow_targets=[half_done]")
    assert done.returncode == 2
    mistake = f"NameError: name 'how_many' is not defined ({tmp_path}/half_done.py, line 2)"
    assert done.stdout + done.stderr == f"odkd: _target_: half_done.Newest cannot be imported: {mistake}\n"


def test_help_names_every_group_and_choice(tmp_path: Path) -> None:
    text = odkd(tmp_path, "--help").stdout
    for word in (
        "dataset: bdd100k, bdd100k_cityscapes, camera, camvid, camvid_cyclic, camvid_images, cdnet, cityscapes, coco, ",
        "synthetic_cyclic, synthetic_cyclic_short, synthetic_images, synthetic_tiny, videos",
        "student: efficientnet_lite0",
        "window: ",
        "odkd stage=label",
        "-sc",
    ):
        assert word in text
    assert "learn: 67" in odkd(tmp_path, "--cfg", "job").stdout


def test_the_command_prints_a_table_and_the_folder_of_the_run(tmp_path: Path) -> None:
    sizes = ["dataset.prepare.period_seconds=5", "window.learn=4", "window.test=4", "window.step=4"]
    arguments = ["debug=smoke", "tracking=none", *sizes]
    done = odkd(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "against teacher" in done.stdout
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert str(run.relative_to(tmp_path)) in done.stdout
    assert (run / "overrides.txt").read_text().splitlines() == arguments
    assert f"odkd {' '.join(arguments)}" in (run / "report.html").read_text()
    assert not (tmp_path / "outputs" / "main.log").exists()


@pytest.mark.slow
def test_a_user_defined_method_is_one_file_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "my_replay.py").write_text(
        "class Newest:\n"
        "    def __init__(self, keep): self.keep, self.positions = keep, []\n"
        "    def select(self, num_positions, scorer): return self.positions[-self.keep:]\n"
        "    def observe(self, fresh, scorer): self.positions += list(fresh)\n"
        "    def kept(self): return self.positions\n"
        "    def state_dict(self): return {'positions': self.positions}\n"
        "    def load_state_dict(self, state): self.positions = state['positions']\n"
    )
    (tmp_path / "conf" / "replay").mkdir(parents=True)
    (tmp_path / "conf" / "replay" / "newest.yaml").write_text("_target_: my_replay.Newest\nkeep: 3\n")
    common = [*CHEAP, "dataset.prepare.period_seconds=5", "window.learn=4", "window.test=4", "window.step=4"]
    done = odkd(tmp_path, "--config-dir", "conf", *common, "replay=newest", "allow_targets=[my_replay]")
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "outputs" / "runs").glob("*/run.json")
    tags = json.loads(record.read_text())["tags"]
    assert "odkd.code_digest" in tags
    assert tags["odkd.config_dir"] == "conf"


@pytest.mark.slow
def test_a_user_defined_teacher_needs_a_class_and_three_lines_of_yaml(tmp_path: Path) -> None:
    (tmp_path / "my_teacher.py").write_text(
        "import numpy as np\n"
        "class Bright:\n"
        "    num_classes, classes, needs_images = 2, ['dark', 'bright'], True\n"
        "    def label(self, frames): return (frames.images_BHWC[..., 1] > 128).astype(np.uint8)\n"
    )
    (tmp_path / "conf" / "teacher").mkdir(parents=True)
    own = "_target_: my_teacher.Bright\nname: bright\n"
    (tmp_path / "conf" / "teacher" / "bright.yaml").write_text(own)
    settings = ["teacher=bright", "allow_targets=[my_teacher]", "stage=label", "dataset.groundtruth=null"]
    refused = odkd(tmp_path, "--config-dir", "conf", *CHEAP, *settings)
    assert refused.returncode == 2
    assert "none of the teacher's classes (dark, bright) is one of the dataset's" in refused.stderr
    # The settings that all teachers have, so that the command can change them.
    common = "defaults: [parts/common@_here_, _self_]\n"
    (tmp_path / "conf" / "teacher" / "bright.yaml").write_text(common + own)
    mapping = ["dataset.classes=[night,day]", "dataset.palette=null", "teacher.classes={dark: night, bright: day}"]
    done = odkd(tmp_path, "--config-dir", "conf", *CHEAP, *settings, *mapping)
    assert done.returncode == 0, done.stderr
