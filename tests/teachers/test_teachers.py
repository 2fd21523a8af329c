"""The oracle's errors, and checkpoints of segmentation-models-pytorch."""

from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from odkd.teachers import SampledFrames
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


def test_a_perfect_oracle_is_the_ground_truth() -> None:
    truth = scene()
    np.testing.assert_array_equal(Oracle(CLASSES).label(show(truth)), truth)


def test_label_noise_hits_the_share_asked_for_and_never_ignored_pixels() -> None:
    truth = scene(20)
    noisy = Oracle(CLASSES, label_noise=0.3).label(show(truth))
    valid = truth != 255
    assert (noisy[~valid] == 255).all()
    # A third of the random classes is the right one.
    assert (noisy != truth)[valid].mean() == pytest.approx(0.3 * 2 / 3, abs=0.01)


def test_boundary_jitter_changes_labels_near_boundaries_only() -> None:
    truth = scene()
    worse = Oracle(CLASSES, boundary_jitter_pixels=3).label(show(truth))
    rows, columns = np.nonzero(worse[0] != truth[0])
    assert len(rows) > 20
    for row, column in zip(rows, columns, strict=True):
        around = truth[0, max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
        assert len(np.unique(around)) > 1


def test_confusion_shows_a_class_as_the_other_with_its_probability() -> None:
    truth = scene(400)
    seen = Oracle(CLASSES, confusion={"car": {"road": 0.2, "sky": 0.3}}).label(show(truth))
    as_class = seen[:, 40, 30]
    shares = np.bincount(as_class, minlength=3) / 400
    np.testing.assert_allclose(shares, [0.2, 0.3, 0.5], atol=0.08)
    assert (seen[:, 50, 70] == 0).all()


def test_errors_depend_on_seed_and_frame_but_not_on_the_batch() -> None:
    truth = scene(4)
    oracle = Oracle(CLASSES, label_noise=0.2, boundary_jitter_pixels=2, seed=1)
    whole = oracle.label(show(truth))
    single = oracle.label(SampledFrames("video", [2], None, lambda _: truth[2]))
    np.testing.assert_array_equal(whole[2], single[0])
    assert (whole[0] != whole[1]).any()
    assert (Oracle(CLASSES, label_noise=0.2, boundary_jitter_pixels=2, seed=2).label(show(truth)) != whole).any()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="names"):
        Oracle(CLASSES, confusion={"cat": {"road": 0.1}})
    with pytest.raises(ValueError, match=r"0\.\.1"):
        Oracle(CLASSES, label_noise=1.5)
    with pytest.raises(ValueError, match="ground truth"):
        Oracle(CLASSES).label(SampledFrames("video", [0], None, None))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    content = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save({"state_dict": network.state_dict(), **content}, path)
    return path


def test_a_checkpoint_teacher_labels_as_its_network_does(checkpoint: Path) -> None:
    teacher = CheckpointTeacher(str(checkpoint), device=CPU)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    with torch.inference_mode():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = network.eval()(x).argmax(1).numpy()
    np.testing.assert_array_equal(teacher.label(SampledFrames("v", [0, 1], images, None)), expected)
    odd = np.random.default_rng(0).integers(0, 256, (1, 50, 75, 3), dtype=np.uint8)
    assert teacher.label(SampledFrames("v", [0], odd, None)).shape == (1, 50, 75)


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
    with pytest.raises(ValueError, match="loads safely"):
        CheckpointTeacher(str(garbage), device=CPU)
