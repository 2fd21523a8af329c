"""`student.decoder` sets what segmentation-models-pytorch lets one set of its decoders, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from extras import need
from torch import nn

from odkd.students.smp import SmpStudent, create_network
from odkd.teachers import SampledFrames
from odkd.teachers.checkpoint import CheckpointTeacher

pytestmark = pytest.mark.usefixtures("smp")


@pytest.fixture(scope="module")
def smp() -> Any:
    return need("segmentation_models_pytorch")


def dropouts(network: nn.Module) -> list[float]:
    return [part.p for part in network.modules() if isinstance(part, nn.Dropout2d)]


def test_a_setting_reaches_the_decoder() -> None:
    assert dropouts(SmpStudent(3, arch="FPN", encoder="mobilenet_v2")) == [0.2]  # the library's
    assert dropouts(SmpStudent(3, arch="FPN", encoder="mobilenet_v2", decoder={"dropout": 0})) == [0]
    narrow = SmpStudent(3, arch="Unet", encoder="mobilenet_v2", decoder={"channels": [16, 8, 8, 8, 4]})
    assert narrow.network.segmentation_head[0].in_channels == 4


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (
            {"drop": 0},
            r"FPN has no student\.decoder\.drop; did you mean dropout\? \(known: pyramid_channels,",
        ),
        ({"encoder_weights": "imagenet"}, "has no student.decoder.encoder_weights"),
        ({"merge_policy": "a/b.pth"}, "expected a number, true, false, null, a word, or whole numbers"),
        ({"dropout": {"_target_": "os.remove"}}, "expected a number"),
        ({"pyramid_channels": [[1]]}, "expected a number"),
        ({"dropout": 7}, r"cannot be built with student\.encoder=mobilenet_v2 student\.decoder\.dropout=7"),
        ({"merge_policy": "multiply"}, r"student\.decoder\.merge_policy=multiply"),
    ],
)
def test_what_the_decoder_does_not_take_is_one_line(decoder: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SmpStudent(3, arch="FPN", encoder="mobilenet_v2", decoder=decoder)
    assert "\n" not in str(caught.value)


def write_teacher(path: Path, **more: Any) -> Path:
    network = create_network("FPN", "mobilenet_v2", None, 2, {"segmentation_channels": 32})
    facts = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": ["road", "car"]}
    statistics = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    torch.save({"state_dict": network.state_dict(), **facts, **statistics, **more}, path)
    return path


def test_a_teacher_file_says_how_its_decoder_is_made(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "teacher.pth", decoder={"segmentation_channels": 32})
    teacher = CheckpointTeacher(str(path), device=torch.device("cpu"))
    images = torch.zeros(1, 64, 64, 3, dtype=torch.uint8).numpy()
    assert teacher.label(SampledFrames("v", [0], images, None)).shape == (1, 64, 64)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (None, "does not fit FPN with mobilenet_v2"),
        (5, "its decoder is 5; expected settings by name"),
        ({3: 1}, r"has no teacher\.decoder\.3"),
        ({"segmentation_channels": 10**5}, "they do not belong together"),
    ],
)
def test_a_teacher_file_with_another_decoder_is_one_line(tmp_path: Path, decoder: Any, message: str) -> None:
    path = write_teacher(tmp_path / "teacher.pth", decoder=decoder)
    with pytest.raises(ValueError, match=message):
        CheckpointTeacher(str(path), device=torch.device("cpu"))
