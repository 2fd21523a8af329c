"""Checkpoints and options of mmsegmentation teachers: what loads, what is refused, and nothing pickled runs."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmseg_networks import (
    CITYSCAPES,
    CPU,
    load,
    make,
    make_images,
    reference,
    reference_model,
    show,
    teacher_of,
)

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.teachers.download import local_path
from odkd.teachers.mmseg import MMSegTeacher
from odkd.teachers.mmseg_weights import load_checkpoint


@pytest.fixture(scope="module")
def pspnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make("pspnet", tmp_path_factory.mktemp("one"))[1:]


def test_options_change_the_config_and_mistyped_ones_are_refused(pspnet: tuple[Path, Path]) -> None:
    images = make_images(50, 75)
    sliding = {
        "test_pipeline.1.scale": [96, 64],
        "model.test_cfg": {"mode": "slide", "crop_size": [40, 40], "stride": [20, 20]},
    }
    labels_BHW = teacher_of(*pspnet, options=sliding).label(show(images))
    assert (labels_BHW != teacher_of(*pspnet).label(show(images))).any()
    tuples = {
        "test_pipeline.1.scale": (96, 64),
        "model.test_cfg": {"mode": "slide", "crop_size": (40, 40), "stride": (20, 20)},
    }
    label = reference(reference_model("pspnet", *pspnet, **tuples))
    np.testing.assert_array_equal(labels_BHW[0], label(images[0]))
    with pytest.raises(
        ValueError, match=r"no test_pipelines of test_pipelines\.1\.scale .* did you mean test_pipeline\?"
    ):
        teacher_of(*pspnet, options={"test_pipelines.1.scale": [96, 64]})
    with pytest.raises(ValueError, match="no 9 of"):
        teacher_of(*pspnet, options={"test_pipeline.9.scale": [96, 64]})


def test_a_checkpoint_of_a_training_run_in_1_x_loads(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    from mmengine.logging import HistoryBuffer

    config, checkpoint = pspnet
    content = load(checkpoint)
    log = HistoryBuffer([1.0, 2.0], [1, 1])
    content["message_hub"] = {"log_scalars": {"train/loss": log}, "runtime_info": {"iter": np.int64(3)}}
    content["optimizer"] = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    content["meta"] = {"dataset_meta": {"classes": tuple(CITYSCAPES), "palette": np.zeros((19, 3), np.uint8)}}
    torch.save(content, tmp_path / "epoch_1.pth")
    assert b"getattr" in pickle.dumps(log, protocol=2), "this makes the file unsafe for other loaders"
    teacher = teacher_of(config, tmp_path / "epoch_1.pth")
    np.testing.assert_array_equal(
        teacher.label(show(make_images(50, 75))), teacher_of(*pspnet).label(show(make_images(50, 75)))
    )
    assert teacher.classes == CITYSCAPES
    assert log.mean() == 1.5, "mmengine's class is unchanged"


class Evil:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def test_nothing_pickled_in_a_checkpoint_is_run(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    made = tmp_path / "made"
    state = load(pspnet[1])["state_dict"]
    torch.save({"state_dict": state, "meta": {"evil": Evil(Path.touch, made)}}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"an object that would run code \(builtins.getattr"):
        teacher_of(pspnet[0], tmp_path / "evil.pth")
    assert not made.exists()
    reached = Evil(getattr, np.ndarray, "tofile")  # mmengine's list of safe names allows this
    torch.save({"state_dict": state, "meta": {"CLASSES": CITYSCAPES, "reached": reached}}, tmp_path / "getattr.pth")
    content = load_checkpoint(tmp_path / "getattr.pth")
    assert content["meta"] == {"CLASSES": CITYSCAPES}


def test_wrong_checkpoints_and_configs_are_one_clear_message(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = pspnet
    with pytest.raises(ValueError, match="no teacher checkpoint"):
        teacher_of(config, tmp_path / "none.pth")
    (tmp_path / "garbage.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="that load safely"):
        teacher_of(config, tmp_path / "garbage.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list"):
        teacher_of(config, tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds epoch; expected a state_dict"):
        teacher_of(config, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="did you mean pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024"):
        teacher_of("pspnet/pspnet_r101b-d8_4xb2-80k_cityscape-512x1024.py", checkpoint)
    (tmp_path / "broken.py").write_text("model = dict(type='EncoderDecoder'")
    with pytest.raises(ValueError, match="cannot be read"):
        teacher_of(tmp_path / "broken.py", checkpoint)
    (tmp_path / "bare.py").write_text("x = 1")
    with pytest.raises(ValueError, match="describes no model"):
        teacher_of(tmp_path / "bare.py", checkpoint)
    (tmp_path / "odd.py").write_text("model = dict(type='EncoderDecoders', backbone=dict())")
    with pytest.raises(ValueError, match=r"builds no network: .*EncoderDecoders"):
        teacher_of(tmp_path / "odd.py", checkpoint)
    binary = {"model.decode_head": {"num_classes": 2, "out_channels": 1, "threshold": 0.3}}
    with pytest.raises(ValueError, match="one output for two classes"):
        teacher_of(config, checkpoint, options=binary)
    (tmp_path / "plain.py").write_text(f"_base_ = ['{config}']\ntta_model = dict(type='OtherTTAModel')")
    with pytest.raises(ValueError, match="SegTTAModel only"):
        teacher_of(tmp_path / "plain.py", checkpoint, tta=True)


def test_a_checkpoint_at_a_url_is_taken_from_the_weights_folder(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    content = pspnet[1].read_bytes()
    url = f"https://127.0.0.1:9/x-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    local_path(url, tmp_path).write_bytes(content)
    teacher = MMSegTeacher(str(pspnet[0]), url, device=CPU, weights_folder=tmp_path, trust=True)
    images = make_images(50, 75)
    np.testing.assert_array_equal(teacher.label(show(images)), teacher_of(*pspnet).label(show(images)))


def test_a_url_passes_the_checks_and_offline_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    url = "http://127.0.0.1:9/net-00112233.pth"
    overrides = [
        "debug=smoke",
        "teacher=pspnet",
        "teacher.classes=cityscapes_to_synthetic",
        "teacher.allow_missing=true",
        f"teacher.checkpoint={url}",
        f"paths.weights={tmp_path}",
        f"paths.cache={tmp_path}",
    ]
    parts = Parts(compose_config(overrides))
    with pytest.raises(ValueError, match=f"could not download {url}.* put it at {tmp_path}/net-00112233.pth"):
        _ = parts.teacher_parts.teacher
