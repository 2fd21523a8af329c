"""The oracle's errors, checkpoints of segmentation-models-pytorch, and the settings of teachers."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from extras import need
from omegaconf import OmegaConf

from odkd.common.device import PRECISIONS
from odkd.common.dotted import NOT_OF_THE_TEACHER
from odkd.common.settings import check_setting, parameter_types
from odkd.config.compose import compose_config
from odkd.config.construct import construct, resolve
from odkd.config.known import CONF
from odkd.teachers import Precision, SampledFrames
from odkd.teachers.checkpoint import CheckpointTeacher
from odkd.teachers.oracle import Oracle

CLASSES = ["road", "sky", "car"]
CPU = torch.device("cpu")


def show(truth_NHW: np.ndarray, digest: str = "video") -> SampledFrames:
    return SampledFrames(digest, list(range(len(truth_NHW))), None, lambda i: truth_NHW[i])


def scene(num_frames: int = 4) -> np.ndarray:
    truth = np.zeros((num_frames, 60, 80), np.uint8)
    truth[:, :30] = 1
    truth[:, 35:45, 20:50] = 2
    truth[:, :, :4] = 255
    return truth


def test_an_oracle_without_errors_is_the_ground_truth() -> None:
    truth = scene()
    np.testing.assert_array_equal(Oracle(CLASSES).label(show(truth)), truth)


def test_label_noise_changes_the_given_share_and_no_ignored_pixels() -> None:
    truth = scene(20)
    noisy = Oracle(CLASSES, label_noise=0.3).label(show(truth))
    valid = truth != 255
    assert (noisy[~valid] == 255).all()
    # A third of the random classes is correct.
    assert (noisy != truth)[valid].mean() == pytest.approx(0.3 * 2 / 3, abs=0.01)


def test_boundary_jitter_changes_labels_near_boundaries_only() -> None:
    truth = scene()
    worse = Oracle(CLASSES, boundary_jitter_pixels=3).label(show(truth))
    rows, columns = np.nonzero(worse[0] != truth[0])
    assert len(rows) > 20
    for row, column in zip(rows, columns, strict=True):
        around = truth[0, max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
        assert len(np.unique(around)) > 1


def test_region_noise_gives_whole_regions_one_random_class() -> None:
    truth = np.full((40, 96, 128), 1, dtype=np.uint8)
    truth[:, :5] = 255
    worse = Oracle(CLASSES, region_noise=0.3, region_pixels=16).label(show(truth))
    assert (worse[:, :5] == 255).all()
    is_wrong = worse[:, 5:] != 1
    assert is_wrong.mean() == pytest.approx(0.3 * 2 / 3, abs=0.02)  # a third of the random classes is correct
    # Pixels beside each other agree: with 16 pixels across, about one pair in 20 lies on a border between two regions.
    across = worse[:, 5:, 1:] != worse[:, 5:, :-1]
    assert 0.005 < across.mean() < 0.03
    small = Oracle(CLASSES, region_noise=0.3, region_pixels=4).label(show(truth))[:, 5:]
    assert (small[:, :, 1:] != small[:, :, :-1]).mean() == pytest.approx(4 * across.mean(), rel=0.15)
    assert len({frame.tobytes() for frame in worse}) == 40


def test_confusion_shows_a_class_as_the_other_with_its_probability() -> None:
    truth = scene(400)
    seen = Oracle(CLASSES, confusion={"car": {"road": 0.2, "sky": 0.3}}).label(show(truth))
    as_class = seen[:, 40, 30]
    shares = np.bincount(as_class, minlength=3) / 400
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.08)
    assert (seen[:, 50, 70] == 0).all()


def test_errors_depend_on_seed_and_frame_but_not_on_the_batch() -> None:
    truth = scene(4)
    oracle = Oracle(CLASSES, label_noise=0.2, region_noise=0.2, boundary_jitter_pixels=2, seed=1)
    batch = oracle.label(show(truth))
    single = oracle.label(SampledFrames("video", [2], None, lambda _: truth[2]))
    np.testing.assert_array_equal(batch[2], single[0])
    assert (batch[0] != batch[1]).any()
    assert (Oracle(CLASSES, label_noise=0.2, boundary_jitter_pixels=2, seed=2).label(show(truth)) != batch).any()


def test_impossible_errors_are_refused() -> None:
    with pytest.raises(ValueError, match="names"):
        Oracle(CLASSES, confusion={"cat": {"road": 0.1}})
    with pytest.raises(ValueError, match=r"teacher\.confusion\.car=.*sum in 0\.\.1"):
        Oracle(CLASSES, confusion={"car": {"road": 0.7, "sky": 0.4}})
    with pytest.raises(ValueError, match="ground truth"):
        Oracle(CLASSES).label(SampledFrames("video", [0], None, None))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    smp = need("segmentation_models_pytorch")
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    content = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save({"state_dict": network.state_dict(), **content}, path)
    return path


def test_labels_of_a_checkpoint_teacher_are_those_of_its_network(checkpoint: Path) -> None:
    teacher = CheckpointTeacher(str(checkpoint), device=CPU)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    smp = need("segmentation_models_pytorch")
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    with torch.inference_mode():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = network.eval()(x).argmax(1).numpy()
    np.testing.assert_array_equal(teacher.label(SampledFrames("v", [0, 1], images, None)), expected)
    odd = np.random.default_rng(0).integers(0, 256, (1, 50, 75, 3), dtype=np.uint8)
    assert teacher.label(SampledFrames("v", [0], odd, None)).shape == (1, 50, 75)


def test_scores_that_are_nan_are_no_labels(checkpoint: Path) -> None:
    teacher = CheckpointTeacher(str(checkpoint), device=CPU)
    with torch.no_grad():
        teacher._network.segmentation_head[0].bias[0] = float("nan")  # as a network in float16 that overflows
    images = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=r"teacher\.checkpoint answers with NaN; set teacher\.precision=float32"):
        teacher.label(SampledFrames("v", [0], images, None))


def test_wrong_checkpoints_are_one_clear_message(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no teacher checkpoint"):
        CheckpointTeacher(str(tmp_path / "none.pth"), device=CPU)
    with pytest.raises(ValueError, match="does not fit"):
        CheckpointTeacher(str(checkpoint), device=CPU, encoder_name="resnet18")
    bare = tmp_path / "bare.pth"
    torch.save(torch.load(checkpoint, weights_only=True)["state_dict"], bare)
    with pytest.raises(ValueError, match=r"teacher\.arch"):
        CheckpointTeacher(str(bare), device=CPU)
    garbage = tmp_path / "garbage.pth"
    garbage.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="that load safely"):
        CheckpointTeacher(str(garbage), device=CPU)


@pytest.mark.parametrize("names", [["car"], 1, None, ["background", "car"]])
def test_a_checkpoint_with_one_output_for_two_classes_is_refused(tmp_path: Path, names: object) -> None:
    """Its likeliest class would be its only one, in every pixel."""
    content = {"segmentation_head.0.weight": torch.zeros(1, 8, 3, 3), "segmentation_head.0.bias": torch.zeros(1)}
    torch.save({"state_dict": content, "classes": names}, tmp_path / "one.pth")
    for settings in ({}, {"num_classes": 2}):
        with pytest.raises(ValueError, match=r"one\.pth has one output for two classes; .*teacher=exported"):
            CheckpointTeacher(str(tmp_path / "one.pth"), device=CPU, arch="FPN", encoder_name="resnet18", **settings)


# --- settings


def test_precisions_are_those_of_the_device() -> None:
    assert get_args(Precision) == tuple(name for name in PRECISIONS if name != "tf32")  # of the whole process


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "teacher").glob("*.yaml")))
def test_every_setting_of_a_teacher_has_a_type_that_its_default_fits(name: str) -> None:
    node = compose_config([f"teacher={name}"]).teacher
    types = parameter_types(resolve(node._target_, [], "teacher"))
    for key in set(node) - {"_target_", *NOT_OF_THE_TEACHER}:
        assert key in types
        if not OmegaConf.is_missing(node, key):
            check_setting(key, OmegaConf.to_container(node)[key], types[key])


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("oracle", ["label_noise=1.5"], "a number of at least 0 and of at most 1"),
        ("oracle", ["region_noise=1.5"], "a number of at least 0 and of at most 1"),
        ("oracle", ["region_pixels=0"], "a whole number of at least 1"),
        ("oracle", ["boundary_jitter_pixels=-1"], "a number of at least 0"),
        ("oracle", ["seed=1.5"], "a whole number"),
        ("folder", ["numbering=frames"], "one of frame, sample; did you mean frame?"),
        ("folder", ["ignore=1.5"], "a whole number"),
        ("folder", ["num_classes=0"], "a whole number of at least 1 and of at most 255, or null"),
        ("folder", ["num_classes=256"], "a whole number of at least 1 and of at most 255, or null"),
        ("checkpoint", ["checkpoint=x", "precision=half"], "one of float32, bfloat16, float16"),
        ("mmseg", ["config=x", "checkpoint=https://x/y.pth", "tta=sometimes"], "true or false"),
        ("smp_hub", ["model=x", "precision=half"], "one of float32, bfloat16, float16"),
        ("transformers", ["model=x", "precision=half"], "one of float32, bfloat16, float16"),
        ("transformers", ["model=x", "task=semantics"], "one of semantic, panoptic, instance; did you mean semantic?"),
    ],
)
def test_settings_of_the_wrong_type_are_refused(name: str, settings: list[str], expected: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    settings = [setting.replace("checkpoint=x", f"checkpoint={file}") for setting in settings]
    node = compose_config([f"teacher={name}", *(f"teacher.{setting}" for setting in settings)]).teacher
    offered = {"classes": CLASSES, "device": CPU, "weights_folder": tmp_path}
    with pytest.raises(ValueError, match=rf"{settings[-1]}; expected {re.escape(expected)}$"):
        construct(node, NOT_OF_THE_TEACHER, offered, [], "teacher")


@pytest.mark.parametrize(
    ("name", "key"), [("checkpoint", "checkpoint"), ("exported", "file"), ("pspnet", "checkpoint")]
)
def test_files_that_do_not_exist_are_named_with_the_nearest(name: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "network.pth").touch()
    node = compose_config([f"teacher={name}", f"teacher.{key}={tmp_path / 'networks.pth'}"]).teacher
    with pytest.raises(ValueError, match=rf"teacher\.{key}=.*no such file; did you mean network\.pth\?"):
        construct(node, NOT_OF_THE_TEACHER, {"device": CPU, "weights_folder": tmp_path}, [], "teacher")
