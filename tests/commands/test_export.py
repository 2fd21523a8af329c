"""odkd-export: files that need no odkd answer as the student does, and say what they are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extras import need
from torch import nn

import odkd as package
from odkd.commands.export import main
from odkd.commands.export_beside import check_replaced
from odkd.teachers import SampledFrames
from odkd.teachers.export import Export, write_export
from odkd.teachers.exported import ExportedTeacher
from odkd.teachers.exported_network import open_network

KINDS = {"onnx": ".onnx", "pt2": ".pt2", "torchscript": ".pt"}
CPU = torch.device("cpu")


def export(*words: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == code


def need_writer(kind: str) -> None:
    if kind == "onnx":
        need("onnx")
        need("onnxscript")


@pytest.mark.parametrize(
    ("kind", "preprocess"),
    [
        *(("onnx", "inside"), ("pt2", "outside"), ("torchscript", "inside")),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("onnx", "outside"), ("pt2", "inside"))),
        pytest.param("torchscript", "outside", marks=pytest.mark.slow),
    ],
)
def test_a_file_labels_as_the_student_does(
    run: Path, tmp_path: Path, kind: str, preprocess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    need_writer(kind)
    path = tmp_path / f"net{KINDS[kind]}"
    export(run, "--to", kind, "--output", path, "--preprocess", preprocess)
    assert "16 frames against float32 PyTorch" in capsys.readouterr().out
    parity = json.loads(path.with_suffix(".parity.json").read_text())
    check_replaced(path)  # its own files do not hinder another export
    assert parity["largest_difference"] < 1e-3
    assert parity["differing_pixels"] <= 1e-3
    student = package.load(run, device="cpu")
    images_NHWC = np.random.default_rng(0).integers(0, 256, (3, *student.size, 3), dtype=np.uint8)
    teacher = ExportedTeacher(str(path), device=CPU, trust=True)
    labels_NHW = teacher.label(SampledFrames("", [0, 1, 2], images_NHWC, None))
    assert (labels_NHW != student.segment(images_NHWC)).mean() < 1e-3
    assert teacher.classes == list(student.classes)


@pytest.mark.slow
def test_an_onnx_file_says_what_it_is_and_where_it_comes_from(run: Path, tmp_path: Path) -> None:
    need_writer("onnx")
    import onnx

    export(run, "--to", "onnx", "--output", tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    student = package.load(run, device="cpu")
    assert json.loads(said["classes"]) == list(student.classes)
    assert json.loads(said["size"]) == list(student.size)
    assert json.loads(said["palette"]) == [list(colour) for colour in student.palette]
    assert said["run"] == json.loads((run / "run.json").read_text())["key"]
    assert model.opset_import[0].version == 18


def test_a_file_that_differs_too_much_is_removed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Export.plain
    noisy = iter([0.0, 0.0, 3.0])  # tried and written as it is, compared with another network

    def changed(made: Export) -> nn.Module:
        network = plain(made)
        level = next(noisy)
        with torch.no_grad():
            for weights in network.parameters():
                weights.add_(level * torch.randn(weights.shape, generator=torch.Generator().manual_seed(0)))
        return network

    monkeypatch.setattr(Export, "plain", changed)
    export(run, "--to", "torchscript", "--output", tmp_path / "net.pt", code=1)
    assert "that is more than --bound 0.10%" in capsys.readouterr().err
    assert not (tmp_path / "net.pt").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("net.yaml", "seed: 1\n"),
        ("net.yaml", "classes: [a, b]  # mine\nmean: [0, 0, 0]\nstd: [1, 1, 1]\nsize: null\noutput: logits\n"),
        ("net.yaml", "- [\n"),
        ("net.parity.json", '{"frames": 1, "largest_difference": 0, "differing_pixels": 0}'),
        ("net.parity.json", "[]"),
    ],
)
def test_files_that_no_export_has_written_are_not_replaced(
    run: Path, tmp_path: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    export(run, "--to", "torchscript", "--output", tmp_path / "net.pt", code=2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"would replace {tmp_path / name}, which no export has written" in line
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, text)]


def test_a_network_that_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            return images_BCHW * 2 if images_BCHW.sum() > 0 else images_BCHW

    made = Export(Odd(), ["a", "b", "c"], [0.0] * 3, [1.0] * 3, (8, 8))
    with pytest.raises(ValueError, match=r"^the network cannot be exported as pt2: "):
        write_export(made, tmp_path / "net.pt2", "pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing", "--to", "pt2"], "nothing has no config.yaml"),
        (["RUN", "--to", "pt2", "--output", "net.onnx"], "a file --to pt2 ends in .pt2"),
        (["RUN", "--to", "pt2", "--frames", "nothing"], "nothing names no video and no picture"),
        (["RUN", "--to", "pt2", "--student", "round_9/x"], "round_9"),
    ],
)
def test_a_mistake_is_one_line(run: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    export(*(str(run) if word == "RUN" else word for word in words), code=2)
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert says in printed[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "kind"),
    [
        ("efficientnet_lite0", "onnx"),
        ("efficientnet_lite0", "torchscript"),
        ("swin_tiny_deeplabv3plus", "onnx"),
        ("swin_tiny_deeplabv3plus", "pt2"),
    ],
)
def test_every_kind_of_student_is_exported(odkd: Callable[..., Path], tmp_path: Path, student: str, kind: str) -> None:
    need_writer(kind)
    without = ["student.encoder_weights=null"] if student.startswith("swin") else []
    run = odkd(f"student={student}", "dataset.size=[64,96]", *without)
    export(run, "--to", kind, "--output", tmp_path / f"net{KINDS[kind]}")
    logits = open_network(tmp_path / f"net{KINDS[kind]}", CPU)(torch.zeros(2, 3, 64, 96))
    assert logits.shape == (2, 11, 64, 96)
