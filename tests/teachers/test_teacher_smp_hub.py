"""Teachers of segmentation-models-pytorch saved with save_pretrained, and their preprocessing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from extras import need

from odkd.teachers import SampledFrames, SoftTeacher
from odkd.teachers.smp_hub import PREPROCESSING, SmpHubTeacher, parse_albumentations

smp = need("segmentation_models_pytorch")
CPU = torch.device("cpu")
RESIZE = {"__class_fullname__": "Resize", "p": 1.0, "height": 64, "width": 96, "interpolation": 1}
NORMALIZE = {  # as the conversion of the SegFormers writes it: in 0..255
    "__class_fullname__": "Normalize",
    "p": 1.0,
    "normalization": "standard",
    "max_pixel_value": 1.0,
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
}
NORMALIZE_OF_0_255 = {
    "__class_fullname__": "albumentations.augmentations.transforms.Normalize",
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "max_pixel_value": 255.0,
}
TO_TENSOR = {"__class_fullname__": "ToTensorV2", "p": 1.0, "transpose_mask": False}


def write_preprocessing(folder: Path, *transforms: dict[str, Any]) -> None:
    composed = {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(transforms), "bbox_params": None}
    (folder / PREPROCESSING).write_text(json.dumps({"__version__": "2.0.0", "transform": composed}))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    made = smp.FPN("mobilenet_v2", encoder_weights=None, classes=4, decoder_pyramid_channels=16)
    for module in made.modules():  # freshly initialized, all logits are nearly equal
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.3)
    return made.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smp") / "fpn"
    network().save_pretrained(folder)
    write_preprocessing(folder, RESIZE, NORMALIZE)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(saved, tmp_path / "copy")


def images(batch_size: int, height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (batch_size, 7, 9, 3), dtype=np.uint8)
    large = small.repeat(-(-height // 7), 1).repeat(-(-width // 9), 2)
    return np.ascontiguousarray(large[:, :height, :width])


def show(images_BHWC: np.ndarray) -> SampledFrames:
    return SampledFrames("v", list(range(len(images_BHWC))), images_BHWC, None)


def expected_logits(images_BHWC: np.ndarray, size: tuple[int, int] | None) -> torch.Tensor:
    """Return the logits of the network at the frames' size, with the normalization of the file."""
    x = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).float()
    full_size = x.shape[2:]
    if size:
        x = F.interpolate(x, size, mode="bilinear").round()
    x = (x - torch.tensor(NORMALIZE["mean"])[:, None, None]) / torch.tensor(NORMALIZE["std"])[:, None, None]
    with torch.inference_mode():
        logits: torch.Tensor = network()(x)
    return F.interpolate(logits, full_size, mode="bilinear")


def test_frames_are_resized_and_normalized_as_the_file_says_and_labels_have_the_frames_size(saved: Path) -> None:
    teacher = SmpHubTeacher(str(saved), device=CPU)
    assert teacher.num_classes == 4
    for size in [(64, 96), (50, 75), (100, 121)]:
        frames_BHWC = images(2, *size)
        labels = teacher.label(show(frames_BHWC))
        assert labels.dtype == np.uint8
        assert len(np.unique(labels)) > 1
        np.testing.assert_array_equal(labels, expected_logits(frames_BHWC, (64, 96)).argmax(1).numpy())


def test_soft_labels_are_the_softmax_of_the_logits(saved: Path) -> None:
    teacher = SmpHubTeacher(str(saved), device=CPU)
    assert isinstance(teacher, SoftTeacher)
    frames_BHWC = images(2, 50, 75)
    labels, soft = teacher.label_softly(show(frames_BHWC), (50, 75))
    np.testing.assert_array_equal(labels, teacher.label(show(frames_BHWC)))
    torch.testing.assert_close(soft, expected_logits(frames_BHWC, (64, 96)).softmax(1))
    _, small = teacher.label_softly(show(frames_BHWC), (5, 7))
    assert small.shape == (2, 4, 5, 7)
    torch.testing.assert_close(small.sum(1), torch.ones(2, 5, 7))


def test_frames_that_keep_their_size_are_padded_to_multiples_of_32(saved: Path) -> None:
    teacher = SmpHubTeacher(str(saved), device=CPU, resize=False)
    fitting = images(1, 96, 160)
    np.testing.assert_array_equal(teacher.label(show(fitting)), expected_logits(fitting, None).argmax(1).numpy())
    odd = images(1, 70, 91)
    reflected = np.pad(odd, ((0, 0), (0, 26), (0, 5), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(
        teacher.label(show(odd)), expected_logits(reflected, None).argmax(1).numpy()[:, :70, :91]
    )


def test_mean_and_std_may_be_set_by_hand(saved: Path) -> None:
    frames_BHWC = images(1, 64, 96)
    mean, std = ([v / 255 for v in NORMALIZE[key]] for key in ("mean", "std"))
    by_hand = SmpHubTeacher(str(saved), device=CPU, mean=mean, std=std).label_softly(show(frames_BHWC), (64, 96))[1]
    torch.testing.assert_close(by_hand, expected_logits(frames_BHWC, None).softmax(1), atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="go together"):
        SmpHubTeacher(str(saved), device=CPU, mean=mean)


def test_imagenet_weights_and_activation_in_the_config_are_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network gives logits, and nothing is downloaded to build it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    expected = SmpHubTeacher(str(folder), device=CPU).label_softly(show(images(1, 64, 96)), (8, 8))[1]
    config = json.loads((folder / "config.json").read_text())
    config |= {"encoder_weights": "imagenet", "activation": "softmax2d"}
    (folder / "config.json").write_text(json.dumps(config))
    soft = SmpHubTeacher(str(folder), device=CPU).label_softly(show(images(1, 64, 96)), (8, 8))[1]
    torch.testing.assert_close(soft, expected)


def test_a_network_with_a_classification_head_labels_with_its_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = smp.FPN("mobilenet_v2", encoder_weights=None, classes=4, aux_params={"classes": 7}).eval()
    made.save_pretrained(tmp_path / "two_heads")
    write_preprocessing(tmp_path / "two_heads", NORMALIZE)
    frames_BHWC = images(1, 64, 96)
    _, soft = SmpHubTeacher(str(tmp_path / "two_heads"), device=CPU).label_softly(show(frames_BHWC), (64, 96))
    assert soft.shape == (1, 4, 64, 96)


def test_half_precision_applies_to_the_network_only(saved: Path) -> None:
    frames = show(images(1, 64, 96))
    exact = SmpHubTeacher(str(saved), device=CPU).label_softly(frames, (8, 12))[1]
    half = SmpHubTeacher(str(saved), device=CPU, precision="bfloat16").label_softly(frames, (8, 12))[1]
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().mean() < 0.1


@pytest.mark.parametrize(
    ("transforms", "size", "mean", "std"),
    [
        ([RESIZE, NORMALIZE], (64, 96), 123.675, 58.395),
        ([RESIZE, TO_TENSOR], (64, 96), 0.0, 1.0),
        ([NORMALIZE_OF_0_255], None, 127.5, 63.75),
    ],
)
def test_known_preprocessings_are_read(
    transforms: list[dict[str, Any]], size: tuple[int, int] | None, mean: float, std: float
) -> None:
    found = parse_albumentations({"transform": {"transforms": transforms}}, "here")
    assert found.size == size
    assert (found.mean[0], found.std[0]) == pytest.approx((mean, std))


@pytest.mark.parametrize(
    "transform",
    [
        {"__class_fullname__": "CenterCrop", "height": 64, "width": 64},
        RESIZE | {"interpolation": 2},
        RESIZE | {"p": 0.5},
        RESIZE | {"area_for_downscale": "image"},
        NORMALIZE | {"normalization": "min_max"},
    ],
    ids=lambda transform: "-".join(str(value) for value in transform.values()),
)
def test_unsupported_preprocessings_are_refused(folder: Path, transform: dict[str, Any]) -> None:
    write_preprocessing(folder, transform)
    with pytest.raises(ValueError, match="is not supported"):
        SmpHubTeacher(str(folder), device=CPU)


def test_without_a_preprocessing_the_encoders_is_used_with_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / PREPROCESSING).unlink()
    params = {"input_space": "RGB", "input_range": [0, 1], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", lambda _: params)
    frames_BHWC = images(1, 64, 96)
    soft = SmpHubTeacher(str(folder), device=CPU).label_softly(show(frames_BHWC), (64, 96))[1]
    assert "as ImageNet's were for mobilenet_v2" in caplog.text
    torch.testing.assert_close(soft, expected_logits(frames_BHWC, None).softmax(1), atol=1e-4, rtol=1e-3)
    monkeypatch.undo()
    if smp.__version__ < "0.6":  # it holds the normalization itself
        return
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"set teacher\.mean and teacher\.std"):
        SmpHubTeacher(str(folder), device=CPU)
    SmpHubTeacher(str(folder), device=CPU, mean=[0.5] * 3, std=[0.25] * 3)


def test_folders_that_are_not_supported_are_one_clear_message(folder: Path, tmp_path: Path) -> None:
    def changed(**changes: Any) -> str:
        config = json.loads((folder / "config.json").read_text())
        copy = shutil.copytree(folder, tmp_path / "-".join(changes))
        (copy / "config.json").write_text(json.dumps(config | changes))
        return str(copy)

    with pytest.raises(ValueError, match="does not fit FPN"):
        SmpHubTeacher(changed(encoder_name="resnet18"), device=CPU)
    with pytest.raises(ValueError, match=r"config\.json has one output for two classes; .*teacher=exported"):
        SmpHubTeacher(changed(classes=1), device=CPU)
    with pytest.raises(ValueError, match="3 channels"):
        SmpHubTeacher(changed(in_channels=4), device=CPU)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model\.safetensors"):
        SmpHubTeacher(str(folder), device=CPU)


def test_identity_depends_on_content_and_on_settings_that_override_the_preprocessing(saved: Path, folder: Path) -> None:
    def named(where: Path, **settings: Any) -> dict[str, Any]:
        return SmpHubTeacher.identity({"model": str(where)} | settings, lambda path: path.read_bytes().hex())

    assert named(saved) == named(folder)
    for key, value in {"precision": "bfloat16", "resize": False, "mean": [0.5] * 3, "std": [0.5] * 3}.items():
        assert named(saved, **{key: value}) != named(saved)
    write_preprocessing(folder, NORMALIZE)
    assert named(saved) != named(folder)
    commit = "89abcdef" * 5
    identity = SmpHubTeacher.identity({"model": "lab/fpn", "revision": commit}, lambda _: "")
    assert identity["weights"] == {"model": "lab/fpn", "commit": commit}


def test_weights_of_a_folder_are_read_as_those_of_a_checkpoint(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path, frames = folder / "model.safetensors", SampledFrames("v", [0], np.zeros((1, 32, 32, 3), np.uint8), None)
    state, plain = load_file(path), SmpHubTeacher(str(folder), device=CPU).label(frames)
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, path)
    assert np.array_equal(SmpHubTeacher(str(folder), device=CPU).label(frames), plain)
    save_file(state | {"segmentation_head.0.bias": torch.full((4,), float("nan"))}, path)
    with pytest.raises(ValueError, match="does not fit FPN: 1 weight with NaN, such as segmentation_head"):
        SmpHubTeacher(str(folder), device=CPU)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="holds no weights that load safely: it is damaged or cut off"):
        SmpHubTeacher(str(folder), device=CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"pretrained_cfg": {"url": "file:///etc/passwd"}},
        {"cache_dir": "elsewhere"},
        {"pretrained": True},
        {"encoder_name": "tu-hf-hub:somebody/net"},
        {"encoder_name": "tu-local-dir:/somewhere"},
        {"encoder_name": "tu-resnet18.x/../y"},
        {"_model_class": "from_pretrained", "pretrained_model_name_or_path": "somebody/net"},
        {"_model_class": "create_model"},
        {"_model_class": "__builtins__"},
    ],
)
def test_a_config_leads_nowhere(folder: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("a network is made"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"config\.json: "):
        SmpHubTeacher(str(folder), device=CPU)


def test_a_config_of_another_size_than_its_weights_takes_no_memory(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_pyramid_channels": 50_000}))
    with pytest.raises(ValueError, match="they do not belong together"):
        SmpHubTeacher(str(folder), device=CPU)


def test_the_encoders_own_weights_are_not_asked_for_if_the_config_does_not_name_them(folder: Path) -> None:
    path, frames = folder / "config.json", show(images(1, 32, 32))
    labels = SmpHubTeacher(str(folder), device=CPU).label(frames)
    config = json.loads(path.read_text())
    config.pop("encoder_weights")
    path.write_text(json.dumps(config))
    np.testing.assert_array_equal(SmpHubTeacher(str(folder), device=CPU).label(frames), labels)
