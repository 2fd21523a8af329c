"""Checks of a config: each mistake is one message, before a frame is decoded."""

import logging
import sys
from pathlib import Path

import pytest
from samples import one_of

from odkd.__main__ import main
from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config

CHEAP = ["debug=smoke", "tracking=none", "run.report=false"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    one_of(
        3,
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
            (["optimizer._target_=os.system"], "optimizer._target_=os.system is not allowed"),
            (["loss.class_weights=[1,2]"], "loss.class_weights has 2 numbers for 11 classes"),
            (["device=cuda:7"], "device=cuda:7 cannot be used here"),
            (["precision=float16", "device=cpu"], "precision=float16 needs a GPU"),
            (["precision=tf32", "device=cpu"], "precision=tf32 needs an NVIDIA GPU"),
            (["window.learn=500"], "window.learn=500 and window.test=6 do not fit the stream (60 sampled frames)"),
            (["+optimizer.momentun=0.9"], "takes no momentun"),
            (["sweep=window_size"], "sweep=window_size is a study of several jobs; run it by  odkd -m"),
            (["dataset.classes=road"], "dataset.classes=road: there is no label set road"),
            (["dataset.classes=[a,b,a]"], "dataset.classes names a more than once"),
            (["student.mean=[0,0,0]", "student.std=[0,1,1]"], "student.std=[0, 1, 1]; expected three numbers"),
            (["loss.class_weights=[-1,1,1,1,1,1,1,1,1,1,1]"], "expected a list of numbers of at least 0"),
            (["run.name=../../evil"], "expected a plain folder name"),
            (["--config-dir", "conf", "replay=fifo"], "Additional config directory"),
            (["replay._target_=mine.X", "allow_targets=[mine]"], "mine.X is not there: No module named 'mine'"),
            (["--overlay"], "odkd: there is no option --overlay"),
            (
                ["replay._target_=json.decoder.Nothing", "allow_targets=[json]"],
                "module 'json.decoder' has no attribute",
            ),
            (["student.dropout=2"], "student.dropout=2; expected a number of at least 0 and of at most 1"),
        ],
    ),
)
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
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert ending.value.code == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message
    assert not (folder / "outputs" / "cache" / "frames").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nope.pth", ""),  # not near enough to "opt" and "best.pth"
        ("studnet.pth", "; did you mean student.pth?"),
        ("weigths", "; did you mean weights?"),
        ("student.safetensor", "; did you mean student.safetensors?"),
        ("student.onnx", ""),
        ("gone/student.pth", " (nor a folder {folder}/gone)"),
    ],
)
def test_a_nearly_identical_file_name_is_suggested(tmp_path: Path, given: str, expected: str) -> None:
    for name in ("opt", "weights"):
        (tmp_path / name).mkdir()
    for name in ("best.pth", "student.pth", "student.safetensors", "labels.json"):
        (tmp_path / name).touch()
    cfg = compose_config([*CHEAP, f"student.weights={tmp_path / given}"])
    with pytest.raises(ValueError, match="no such file") as mistake:
        check_config(complete(cfg))
    assert str(mistake.value) == f"student.weights={tmp_path / given}: no such file{expected.format(folder=tmp_path)}"
