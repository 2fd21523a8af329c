"""Teachers from TorchScript and ONNX files: their labels equal those of the networks."""

import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from extras import need

from odkd.teachers import SampledFrames, SoftTeacher, exported_description
from odkd.teachers.exported import ExportedTeacher

CPU = torch.device("cpu")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NAMES = ["road", "sky", "car", "person"]
Output = Literal["logits", "probabilities", "labels"]


class Tiny(torch.nn.Module):
    """One convolution with four classes; with `stride` 2 its output is half as large as the image."""

    def __init__(self, output: Output = "logits", layout: str = "nchw", stride: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, len(NAMES), 3, padding=1, stride=stride)
        self.output, self.layout = output, layout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.layout == "nhwc":
            images = images.permute(0, 3, 1, 2)
        scores: torch.Tensor = self.convolution(images)
        if self.output == "labels":
            return scores.argmax(1)
        if self.output == "probabilities":
            scores = scores.softmax(1)
        return scores.permute(0, 2, 3, 1) if self.layout == "nhwc" else scores


def save_torchscript(network: Tiny, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit")
        example = torch.zeros(1, 32, 32, 3) if network.layout == "nhwc" else torch.zeros(1, 3, 32, 32)
        torch.jit.trace(network.eval(), example).save(str(path))


def save_onnx(network: Tiny, path: Path, shape: tuple[Any, ...] | None = None) -> None:
    """Write the graph by hand, because torch's exporter needs another package."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = (value.detach().numpy() for value in network.convolution.parameters())
    stride = list(network.convolution.stride)
    nodes, last = [], "images"

    def add(kind: str, *more: str, **attributes: Any) -> None:
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *more], [f"{kind}{len(nodes)}"], **attributes))
        last = nodes[-1].output[0]

    if network.layout == "nhwc":
        add("Transpose", perm=[0, 3, 1, 2])
    add("Conv", "weight", "bias", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=stride)
    if network.output == "labels":
        add("ArgMax", axis=1, keepdims=1)
    if network.output == "probabilities":
        add("Softmax", axis=1)
    if network.layout == "nhwc" and network.output != "labels":
        add("Transpose", perm=[0, 2, 3, 1])
    free = ("batch", "height", "width", 3) if network.layout == "nhwc" else ("batch", 3, "height", "width")
    kind = TensorProto.INT64 if network.output == "labels" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape or free)],
        [helper.make_tensor_value_info(last, kind, [None] * 4)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def describe(path: Path, **changes: Any) -> None:
    described = {"classes": NAMES, "mean": MEAN, "std": STD, "output": "logits"} | changes
    path.with_suffix(".yaml").write_text(yaml.safe_dump({k: v for k, v in described.items() if v is not None}))


@pytest.fixture(params=[".pt", ".onnx"])
def ending(request: pytest.FixtureRequest) -> str:
    if request.param == ".onnx":
        need("onnx")
        need("onnxruntime")
    return str(request.param)


def export(network: Tiny, path: Path, **described: Any) -> str:
    (save_onnx if path.suffix == ".onnx" else save_torchscript)(network, path)
    describe(path, output=network.output, layout=network.layout, **described)
    return str(path)


def images(batch_size: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch_size, height, width, 3), dtype=np.uint8)


def show(images_BHWC: np.ndarray) -> SampledFrames:
    return SampledFrames("v", list(range(len(images_BHWC))), images_BHWC, None)


def normalized(images_BHWC: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def expected_logits(x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    with torch.inference_mode():
        return Tiny(stride=stride)(x)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("output", ["logits", "probabilities", "labels"])
def test_labels_are_those_of_the_network(tmp_path: Path, ending: str, output: Output, layout: str) -> None:
    teacher = ExportedTeacher(export(Tiny(output, layout), tmp_path / f"net{ending}"), device=CPU, trust=True)
    assert teacher.classes == NAMES
    assert teacher.num_classes == 4
    for size in [(48, 64), (33, 70)]:
        frames_BHWC = images(3, *size)
        labels = teacher.label(show(frames_BHWC))
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, expected_logits(normalized(frames_BHWC)).argmax(1).numpy())


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_soft_labels_are_the_networks_probabilities(tmp_path: Path, ending: str, output: Output) -> None:
    teacher = ExportedTeacher(export(Tiny(output), tmp_path / f"net{ending}"), device=CPU, trust=True)
    assert isinstance(teacher, SoftTeacher)
    frames_BHWC = images(2, 40, 50)
    labels, soft = teacher.label_softly(show(frames_BHWC), (40, 50))
    np.testing.assert_array_equal(labels, teacher.label(show(frames_BHWC)))
    torch.testing.assert_close(soft, expected_logits(normalized(frames_BHWC)).softmax(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(teacher.label_softly(show(frames_BHWC), (4, 5))[1].sum(1), torch.ones(2, 4, 5))


def test_a_network_whose_output_is_labels_has_no_soft_labels(tmp_path: Path, ending: str) -> None:
    teacher = ExportedTeacher(export(Tiny("labels"), tmp_path / f"net{ending}"), device=CPU, trust=True)
    with pytest.raises(ValueError, match=r"labels only; set teacher\.soft\.top_k=0"):
        teacher.label_softly(show(images(1, 32, 32)), (8, 8))


def test_smaller_outputs_are_enlarged_and_padding_is_removed(tmp_path: Path, ending: str) -> None:
    path = export(Tiny(stride=2), tmp_path / f"net{ending}", multiple_of=16)
    frames_BHWC = images(2, 40, 50)
    x = F.pad(normalized(frames_BHWC), (0, 14, 0, 8), mode="reflect")
    expected = F.interpolate(expected_logits(x, stride=2), (48, 64), mode="bilinear")[:, :, :40, :50]
    labels, soft = ExportedTeacher(path, device=CPU, trust=True).label_softly(show(frames_BHWC), (40, 50))
    torch.testing.assert_close(soft, expected.softmax(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        soft.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0], soft.max(1).values, atol=1e-6, rtol=1e-6
    )


def test_frames_are_resized_to_a_fixed_size_and_labels_back_to_the_frames(tmp_path: Path, ending: str) -> None:
    frames_BHWC = images(2, 40, 50)
    small = torch.from_numpy(frames_BHWC).permute(0, 3, 1, 2).float()
    x = F.interpolate(small, (32, 64), mode="bilinear").permute(0, 2, 3, 1).numpy()
    logits = ExportedTeacher(export(Tiny(), tmp_path / f"a{ending}", size=[32, 64]), device=CPU, trust=True)
    expected = F.interpolate(expected_logits(normalized(x)), (40, 50), mode="bilinear").argmax(1).numpy()
    np.testing.assert_array_equal(logits.label(show(frames_BHWC)), expected)
    labels = ExportedTeacher(export(Tiny("labels"), tmp_path / f"b{ending}", size=[32, 64]), device=CPU, trust=True)
    nearest = F.interpolate(expected_logits(normalized(x)).argmax(1)[:, None].float(), (40, 50), mode="nearest-exact")
    np.testing.assert_array_equal(labels.label(show(frames_BHWC)), nearest[:, 0].numpy())


def test_scale_and_channel_order_follow_the_description(tmp_path: Path, ending: str) -> None:
    scaled = {"scale": "0..255", "mean": [v * 255 for v in MEAN], "std": [v * 255 for v in STD]}
    path = export(Tiny(), tmp_path / f"net{ending}", channel_order="bgr", **scaled)
    frames_BHWC = images(1, 32, 48)
    expected = expected_logits(normalized(frames_BHWC[..., ::-1].copy())).softmax(1)
    soft = ExportedTeacher(path, device=CPU, trust=True).label_softly(show(frames_BHWC), (32, 48))[1]
    torch.testing.assert_close(soft, expected, atol=1e-5, rtol=1e-4)


def test_an_onnx_file_for_one_frame_receives_frames_one_by_one(tmp_path: Path) -> None:
    need("onnx")
    path = tmp_path / "net.onnx"
    save_onnx(Tiny(), path, (1, 3, 32, 48))
    describe(path)
    teacher = ExportedTeacher(str(path), device=CPU, trust=True)
    frames_BHWC = images(3, 32, 48)
    np.testing.assert_array_equal(
        teacher.label(show(frames_BHWC)), expected_logits(normalized(frames_BHWC)).argmax(1).numpy()
    )
    save_onnx(Tiny(), path, (2, 3, 32, 48))
    with pytest.raises(ValueError, match="takes 2 frames at a time"):
        ExportedTeacher(str(path), device=CPU, trust=True)
    with pytest.raises(ValueError, match=r"cannot take images \[1, 3, 40, 48\].*size, multiple_of"):
        teacher.label(show(images(1, 40, 48)))


@pytest.mark.parametrize(
    ("output", "described", "message"),
    [
        (
            "logits",
            {"classes": NAMES[:3]},
            r"puts out \[2, 4, 32, 48\] for 2 frames; expected \[B, K, H, W\] with K = 3",
        ),
        ("labels", {"output": "logits"}, "expected "),
        ("logits", {"output": "labels"}, "whole numbers"),
        ("logits", {"output": "probabilities"}, "do not sum to 1"),
        ("labels", {"output": "labels", "classes": NAMES[:2]}, "puts out label [23]; its description names 2"),
    ],
)
def test_outputs_that_differ_from_the_description_are_refused(
    tmp_path: Path, ending: str, output: Output, described: dict[str, Any], message: str
) -> None:
    path = tmp_path / f"net{ending}"
    export(Tiny(output), path)
    describe(path, **described)
    with pytest.raises(ValueError, match=message):
        ExportedTeacher(str(path), device=CPU, trust=True).label(show(images(2, 32, 48)))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"mean": None}, "does not say mean"),
        ({"chanel_order": "bgr"}, "did you mean channel_order"),
        ({"scale": "0..2"}, r"expected one of 0\.\.1, 0\.\.255"),
        ({"classes": ["road"]}, "2 to 255 names"),
        ({"std": [1.0, 1.0]}, "three numbers"),
        ({"std": [1.0, 0.0, 1.0]}, "std above 0"),
        ({"size": [32]}, r"\[height, width\]"),
        ({"multiple_of": 0}, "multiple_of: 0"),
    ],
)
def test_wrong_descriptions_are_one_clear_message(tmp_path: Path, described: dict[str, Any], message: str) -> None:
    path = tmp_path / "net.pt"
    save_torchscript(Tiny(), path)
    describe(path, **described)
    with pytest.raises(ValueError, match=message):
        ExportedTeacher(str(path), device=CPU, trust=True)


def test_the_example_in_the_documentation_is_a_description(tmp_path: Path) -> None:
    _, example = str(exported_description.__doc__).split("\n", 1)
    (tmp_path / "net.yaml").write_text(example)
    description = exported_description.read_description(tmp_path / "net.yaml")
    assert {field.name for field in fields(description)} == set(yaml.safe_load(example))


def test_files_that_are_missing_or_no_networks_are_one_clear_message(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"net{ending}"
    with pytest.raises(ValueError, match="no exported network"):
        ExportedTeacher(str(path), device=CPU, trust=True)
    path.write_bytes(b"not a network")
    with pytest.raises(ValueError, match="no description"):
        ExportedTeacher(str(path), device=CPU, trust=True)
    describe(path)
    with pytest.raises(ValueError, match="is no "):
        ExportedTeacher(str(path), device=CPU, trust=True)
    if ending == ".onnx":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ValueError, match=r"pip install 'odkd\[onnx\]'"):
            ExportedTeacher(str(path), device=CPU, trust=True)


def test_identity_is_the_content_of_all_files_in_any_place(tmp_path: Path) -> None:
    def named(path: Path) -> dict[str, Any]:
        return ExportedTeacher.identity({"file": str(path)}, lambda file: file.read_bytes().hex())

    (tmp_path / "there").mkdir()
    here, there = tmp_path / "net.onnx", tmp_path / "there" / "moved.onnx"
    for path in (here, there):
        path.write_bytes(b"graph")
        describe(path)
        path.with_name(f"{path.name}.data").write_bytes(b"weights")
    assert named(here) == named(there)
    there.with_name("moved.onnx.data").write_bytes(b"other weights")
    assert named(here) != named(there)
    there.with_name("moved.onnx.data").write_bytes(b"weights")
    describe(there, scale="0..255")
    assert named(here) != named(there)


def test_a_torchscript_file_is_a_program_and_needs_trust(tmp_path: Path) -> None:
    path = export(Tiny(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"net\.pt is a TorchScript file: a program .* add teacher\.trust=true"):
        ExportedTeacher(path, device=CPU)
