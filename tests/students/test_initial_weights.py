"""Initial weights without internet access: one line, in seconds, says what to fetch and where to put it."""

import sys
import time
import urllib.error
from pathlib import Path
from types import ModuleType

import pytest
from extras import need
from omegaconf import OmegaConf
from torch import nn

from odkd.config.construct import construct
from odkd.students.initial_weights import check_hub, of_smp, of_timm
from odkd.students.smp import SmpStudent
from odkd.students.swin_deeplab import SwinTinyDeepLabV3Plus


@pytest.fixture(params=["offline", "no network"])
def hub(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return why an empty cache cannot be filled: by the user's wish, or because the hub does not answer."""
    need("segmentation_models_pytorch")
    constants = need("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", request.param == "offline")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("odkd.students.initial_weights.TIMEOUT_SECONDS", 0.5)
    return "HF_HUB_OFFLINE is set" if request.param == "offline" else "http://127.0.0.1:9 does not answer"


@pytest.mark.parametrize(
    ("encoder", "fetch"),
    [
        ("resnet18", "hf download smp-hub/resnet18.imagenet config.json model.safetensors --revision 3f2325ff"),
        ("tu-resnet18", "hf download timm/resnet18.a1_in1k model.safetensors"),
    ],
)
def test_weights_of_an_encoder_say_what_to_fetch_and_where_to_put_it(hub: str, encoder: str, fetch: str) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"student\.encoder_weights=imagenet: the weights") as raised:
        SmpStudent(3, arch="Unet", encoder=encoder, encoder_weights="imagenet")
    message = str(raised.value)
    assert time.monotonic() - start < 5
    assert hub in message
    assert fetch in message
    assert "copy the folder models--" in message
    assert "student.encoder_weights=null" in message
    assert "\n" not in message


def test_weights_of_the_swin_encoder_can_lie_in_any_folder(hub: str) -> None:
    with pytest.raises(ValueError, match=hub) as raised:
        SwinTinyDeepLabV3Plus(3)
    assert "--local-dir FOLDER'; then set student.encoder_weights=FOLDER/model.safetensors" in str(raised.value)


def test_weights_in_the_cache_need_no_network(hub: str, tmp_path: Path) -> None:
    del hub
    source = of_smp("resnet18", "imagenet")
    assert source is not None
    assert source.revision is not None
    folder = tmp_path / "hub" / "models--smp-hub--resnet18.imagenet" / "snapshots" / source.revision
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="are not in"):
        check_hub(source, "student.encoder_weights=imagenet")
    (folder / "model.safetensors").write_text("")
    check_hub(source, "student.encoder_weights=imagenet")


def test_unknown_names_are_left_to_the_library() -> None:
    need("segmentation_models_pytorch")
    assert of_smp("resnet18", "imagnet") is None
    assert of_smp("nope", "imagenet") is None
    assert of_timm("nope") is None
    with pytest.raises(ValueError, match=r"there is no student\.encoder=tu-nope"):
        SmpStudent(3, arch="Unet", encoder="tu-nope", encoder_weights="imagenet")


def test_a_student_of_ones_own_that_cannot_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Online(nn.Conv2d):
        def __init__(self, num_classes: int) -> None:
            super().__init__(3, num_classes, 1)
            raise urllib.error.URLError("Name or service not known")

    Online.__module__, module = "online_student", ModuleType("online_student")
    module.Online = Online  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "online_student", module)
    node = OmegaConf.create({"_target_": "online_student.Online"})
    with pytest.raises(ValueError, match=r"online_student\.Online: URLError: .*not known") as raised:
        construct(node, (), {"num_classes": 3}, ["online_student"], "student")
    assert "\n" not in str(raised.value)
