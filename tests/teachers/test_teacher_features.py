"""Features of the layers of teachers of each library: those of the library's own network, without padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from extras import need
from transformers_networks import eomt_padded, eomt_windows, images, save, segformer, show, transformers

from odkd.data.labels.features import FeatureKind, parse
from odkd.teachers import SampledFrames
from odkd.teachers.checkpoint import CheckpointTeacher
from odkd.teachers.features import FeatureTaker, check_space, network_of, without_padding
from odkd.teachers.oracle import Oracle
from odkd.teachers.transformers import TransformersTeacher

CPU = torch.device("cpu")


def test_features_of_a_transformer_are_its_hidden_states(tmp_path: Path) -> None:
    folder = save(segformer, tmp_path / "segformer")
    teacher = TransformersTeacher(str(folder), device=CPU)
    layers = dict(teacher.network.named_modules())
    known = ("segformer.stages.3.layer_norm", "segformer.encoder.layer_norm.3")  # of version 5, and before it
    kind = FeatureKind(next(name for name in known if name in layers))
    frames = show(images(2, 64, 96))
    labels_BHW, found = FeatureTaker(teacher, "segformer", [kind]).during(frames, lambda: teacher.label(frames))
    np.testing.assert_array_equal(labels_BHW, teacher.label(frames))
    inputs = transformers.AutoImageProcessor.from_pretrained(folder)(
        images=list(frames.images_BHWC),
        return_tensors="pt",  # type: ignore[arg-type]
    )
    with torch.inference_mode():
        states = teacher.network(**inputs, output_hidden_states=True).hidden_states
    expected_BCHW = next(state for state in reversed(states) if state.shape[1] == len(found[0][kind]))
    np.testing.assert_allclose(np.stack([one[kind] for one in found]), expected_BCHW.numpy(), rtol=2e-3, atol=2e-3)


def test_windows_of_a_frame_are_no_map_of_it(tmp_path: Path) -> None:
    teacher = TransformersTeacher(str(save(eomt_windows, tmp_path / "eomt")), device=CPU)
    frames = show(images(1, 64, 128))
    taker = FeatureTaker(teacher, "eomt", [FeatureKind("layers.0")])
    with pytest.raises(ValueError, match=r"layer layers\.0 gives \d+ maps for 1 images; expected one each"):
        taker.during(frames, lambda: teacher.label(frames))


def test_padding_of_a_square_is_cut_off(tmp_path: Path) -> None:
    teacher = TransformersTeacher(str(save(eomt_padded, tmp_path / "eomt")), device=CPU)
    frames, kind = show(images(1, 32, 64)), FeatureKind("layers.0")
    _, (found,) = FeatureTaker(teacher, "eomt", [kind]).during(frames, lambda: teacher.label(frames))
    assert found[kind].shape == (16, 2, 4)  # the upper half of 4 x 4 tokens


def test_padding_of_a_checkpoint_s_frames_is_cut_off(tmp_path: Path) -> None:
    smp = need("segmentation_models_pytorch")
    torch.manual_seed(0)
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    content = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save({"state_dict": network.state_dict(), **content}, tmp_path / "net.pth")
    teacher = CheckpointTeacher(str(tmp_path / "net.pth"), device=CPU)
    kind = FeatureKind("encoder.features.0")  # stride 2
    picture = np.random.default_rng(0).integers(0, 256, (1, 40, 72, 3), dtype=np.uint8)
    frames = SampledFrames("v", [0], picture, None)
    _, (found,) = FeatureTaker(teacher, "net", [kind]).during(frames, lambda: teacher.label(frames))
    with torch.inference_mode():
        normal = (torch.from_numpy(picture).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        padded = torch.nn.functional.pad(normal, (0, 24, 0, 24), mode="reflect")
        expected_CHW = teacher.network.get_submodule("encoder.features.0")(padded)[0, :, :20, :36]
    np.testing.assert_allclose(found[kind], expected_CHW.numpy(), rtol=2e-3, atol=2e-3)


def test_a_part_of_a_place_is_interpolated() -> None:
    ramp = torch.arange(6.0).view(1, 1, 1, 6)
    assert without_padding(ramp, (32, 96), (32, 192)).flatten().tolist() == [0.0, 1.0, 2.0]
    half = without_padding(ramp, (32, 80), (32, 192)).flatten()  # 2.5 of 6 places, as 2
    torch.testing.assert_close(half, torch.tensor([0.125, 1.375]), rtol=0, atol=1e-6)


def test_a_teacher_without_a_network_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"teacher oracle names no layers .*; choose another teacher"):
        network_of(Oracle(["road", "sky"]), "oracle")


@pytest.mark.parametrize("layer", ["encoder.layer4", "a/b", "0", "x-whole-1x2x3", "ä"])
def test_names_of_folders_say_what_is_in_them(layer: str) -> None:
    for kind, shape in ((FeatureKind(layer), (3, 4, 5)), (FeatureKind(layer, (4, 5)), (3, 4, 5))):
        folder = kind.folder(shape)
        assert "/" not in folder
        assert parse(folder) == (kind, shape)


@pytest.mark.parametrize("folder", ["features", "features-x-whole-1x2", "features-x-whole-0x1x1", "labels"])
def test_other_folders_are_no_features(folder: str) -> None:
    assert parse(folder) is None


def test_a_disk_that_is_half_filled_by_features_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    check_space(40, 100, tmp_path)
    assert not caplog.records
    check_space(60, 100, tmp_path)
    assert "the features take 0.0 MB" in caplog.text
    with pytest.raises(ValueError, match=r"set features\.size"):
        check_space(101, 100, tmp_path)
