"""The command as a user meets it: messages, help, and what is found before anything is computed."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from odkd.__main__ import main
from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config

CHEAP = ["debug=smoke", "tracking=none", "run.report=false"]


def odkd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    command = [sys.executable, "-m", "odkd", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["window.lern=3"], "there is no setting or group window.lern; did you mean window.learn?"),
        (["datset=camvid"], "did you mean dataset?"),
        (["dataset=camvd"], "there is no dataset=camvd; did you mean camvid?"),
        (["student=tinynett"], "did you mean tinynet?"),
        (["precision=float23"], "did you mean float32?"),
        (["dataset=camvid"], "dataset.root is not set"),
        (["dataset=camvid", "dataset.root=nowhere"], "dataset.root=nowhere: no such folder"),
        (["teacher=checkpoint", "teacher.checkpoint=none.pth"], "teacher.checkpoint=none.pth: no such file"),
        (["student.weights=none.pth"], "student.weights=none.pth: no such file"),
        (["window.learn=0"], "window.learn=0; expected a whole number of at least 1"),
        (["seed=abc"], "seed=abc; expected a whole number"),
        (["dataset.groundtruth=null"], "teacher=oracle needs ground truth"),
        (["optimizer._target_=os.system"], "_target_: os.system is not allowed"),
        (["loss.class_weights=[1,2]"], "loss.class_weights has 2 numbers for 11 classes"),
        (["device=cuda:7"], "device=cuda:7 cannot be used here"),
        (["precision=float16", "device=cpu"], "precision=float16 needs a GPU"),
        (["window.learn=500"], "window.learn=500 and window.test=6 do not fit the stream (60 sampled frames)"),
        (["+optimizer.momentun=0.9"], "takes no momentun"),
        (["sweep=window_size"], "sweep=window_size is a study of several jobs; run it by  odkd -m"),
        (["dataset.classes=road"], "dataset.classes=road: there is no label set road"),
        (["dataset.classes=[a,b,a]"], "dataset.classes names a more than once"),
        (["student.mean=[0,0,0]", "student.std=[0,1,1]"], "student.std=[0, 1, 1]; expected three numbers"),
        (["loss.class_weights=[-1,1,1,1,1,1,1,1,1,1,1]"], "expected numbers of at least 0"),
        (["run.name=../../evil"], "expected a plain folder name"),
        (["--config-dir", "conf", "replay=fifo"], "odkd: replay=fifo is cut off from the settings"),
        (["replay._target_=mine.X", "allow_targets=[mine]"], "mine.X is not there: No module named 'mine'"),
        (["--overlay"], "odkd: there is no option --overlay"),
        (["replay._target_=json.decoder.Nothing", "allow_targets=[json]"], "module 'json.decoder' has no attribute"),
        (["student.dropout=2"], "student.dropout=2; expected a number of at least 0 and of at most 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_before_a_frame_is_decoded(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mistakes"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["odkd", *CHEAP, *arguments])
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    with pytest.raises(SystemExit) as ending:
        main()
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    assert ending.value.code == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (folder / "outputs" / "cache" / "frames").exists()


def test_the_command_says_it_as_one_message_too(tmp_path: Path) -> None:
    done = odkd(tmp_path, "window.lern=3")
    assert done.returncode == 2
    assert done.stderr == "odkd: there is no setting or group window.lern; did you mean window.learn?\n"
    done = odkd(tmp_path, "-m", *CHEAP, "window.lern=3", "seed=0,1")
    assert done.returncode == 2
    assert "did you mean window.learn?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_that_cannot_be_imported_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "half_done.py").write_text("class Newest:\n    keep = how_many\n")
    done = odkd(tmp_path, *CHEAP, "replay._target_=half_done.Newest", "allow_targets=[half_done]")
    assert done.returncode == 2
    mistake = f"NameError: name 'how_many' is not defined ({tmp_path}/half_done.py, line 2)"
    assert done.stdout + done.stderr == f"odkd: _target_: half_done.Newest cannot be imported: {mistake}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nope.pth", ""),  # like "opt" and "best.pth", somewhat
        ("studnet.pth", "; did you mean student.pth?"),
        ("weigths", "; did you mean weights?"),
        ("student.safetensor", "; did you mean student.safetensors?"),
        ("student.onnx", ""),
        ("gone/student.pth", " (nor a folder {folder}/gone)"),
    ],
)
def test_of_files_only_a_near_one_is_suggested(tmp_path: Path, given: str, expected: str) -> None:
    for name in ("opt", "weights"):
        (tmp_path / name).mkdir()
    for name in ("best.pth", "student.pth", "student.safetensors", "labels.json"):
        (tmp_path / name).touch()
    cfg = compose_config([*CHEAP, f"student.weights={tmp_path / given}"])
    with pytest.raises(ValueError, match="no such file") as mistake:
        check_config(complete(cfg))
    assert str(mistake.value) == f"student.weights={tmp_path / given}: no such file{expected.format(folder=tmp_path)}"


def test_help_names_every_group_and_choice(tmp_path: Path) -> None:
    text = odkd(tmp_path, "--help").stdout
    for word in (
        "dataset: bdd100k, bdd100k_cityscapes, camvid, camvid_cyclic, camvid_images, cityscapes, coco, ",
        "synthetic_cyclic, synthetic_cyclic_short, synthetic_images, synthetic_tiny, videos",
        "student: efficientnet_lite0",
        "window: ",
        "odkd stage=label",
        "-sc",
    ):
        assert word in text
    assert "learn: 67" in odkd(tmp_path, "--cfg", "job").stdout


def test_the_command_runs_prints_a_table_and_says_where_things_are(tmp_path: Path) -> None:
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


def test_users_own_method_is_one_file_outside_the_package(tmp_path: Path) -> None:
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
def test_users_own_teacher_needs_a_class_and_three_lines_of_yaml(tmp_path: Path) -> None:
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
    common = "defaults: [parts/common@_here_, _self_]\n"  # so that its settings can be changed by the command
    (tmp_path / "conf" / "teacher" / "bright.yaml").write_text(common + own)
    mapping = ["dataset.classes=[night,day]", "dataset.palette=null", "teacher.classes={dark: night, bright: day}"]
    done = odkd(tmp_path, "--config-dir", "conf", *CHEAP, *settings, *mapping)
    assert done.returncode == 0, done.stderr
