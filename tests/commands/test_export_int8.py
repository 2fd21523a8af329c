"""odkd-export --int8: a quarter of the size, and what it costs in mIoU on frames of the run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extras import need

from odkd.commands.export import main
from odkd.commands.export_parity import lost_miou
from odkd.commands.predict import main as predict
from odkd.teachers import SampledFrames
from odkd.teachers.exported import ExportedTeacher


@pytest.fixture(autouse=True)
def libraries() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        need(name)


def export(*words: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == code


@pytest.fixture(scope="module")
def int8(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "net.int8.onnx"
    export(run, "--to", "onnx", "--int8", "--output", path, "--num-frames", "6", "--bound", "1")
    return path


@pytest.mark.slow
def test_weights_are_int8_with_a_scale_for_each_output_channel(int8: Path, run: Path) -> None:
    import onnx

    model = onnx.load(int8)
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    made_by = {node.output[0]: node for node in model.graph.node}
    assert convolutions
    for convolution in convolutions:
        data, weights = (made_by[name] for name in convolution.input[:2])
        assert data.op_type == weights.op_type == "DequantizeLinear"
        weights_OIHW, scales_O = (stored[name] for name in weights.input[:2])
        assert weights_OIHW.dtype == np.int8
        assert np.abs(weights_OIHW).max() <= 64  # 7 bits, for processors without VNNI
        assert scales_O.shape == weights_OIHW.shape[:1]
    assert int8.stat().st_size < 0.4 * (run / "student.safetensors").stat().st_size
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["quantised"] == "int8"
    assert said["run"] == json.loads((run / "run.json").read_text())["key"]


def test_the_cost_is_the_miou_of_both_against_the_labels_of_the_run(int8: Path, run: Path) -> None:
    from odkd.commands.export_frames import read_calibration
    from odkd.config.segmenter import load_student
    from odkd.evaluation.metrics import confusion_matrices, mean_iou

    parity = json.loads(int8.with_suffix(".parity.json").read_text())
    student = load_student(run, device="cpu")
    calibration_NHWC, frames = read_calibration(run, None, 6, student.size)
    known = {image.tobytes() for image in calibration_NHWC}
    assert not any(image.tobytes() in known for image in frames.images_NHWC)  # it is not scored on what it was made on
    assert set(parity["miou"]) == set(frames.labels) == {"teacher", "groundtruth"}
    teacher = ExportedTeacher(str(int8), device=torch.device("cpu"))
    numbers = list(range(len(frames.images_NHWC)))
    labelled_NHW = teacher.label(SampledFrames("", numbers, frames.images_NHWC, None))
    answers = [student.segment(frames.images_NHWC), labelled_NHW]
    for name, labels in frames.labels.items():
        reference_NHW = torch.from_numpy(np.stack(labels))
        found = [
            mean_iou(confusion_matrices(torch.from_numpy(answer_NHW), reference_NHW, len(student.classes)).sum(0))
            for answer_NHW in answers
        ]
        assert parity["miou"][name] == pytest.approx([float(value) for value in found], abs=1e-3)


@pytest.mark.slow
def test_frames_of_another_source_are_scored_against_the_network_itself_and_a_file_that_loses_too_much_is_removed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for number in range(4):
        picture = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    path = tmp_path / "out" / "net.onnx"
    words = (run, "--to", "onnx", "--int8", "--output", path, "--frames", tmp_path, "--num-frames", "2", "--bound")
    export(*words, "0", code=1)
    printed = capsys.readouterr()
    assert "mIoU against its own classes in float32 (no labels): 1.0000 in float32" in printed.out
    assert "of mIoU are more than --bound 0.0" in printed.err
    assert not path.exists()
    assert not path.with_suffix(".yaml").exists()
    export(*words, "1")
    predict([str(path), str(tmp_path / "0.png"), "--to", str(tmp_path / "predicted")])
    assert list((tmp_path / "predicted").rglob("*.png"))


def test_int8_is_of_onnx(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(run, "--to", "pt2", "--int8", code=2)
    assert "--int8 is of --to onnx" in capsys.readouterr().err


def test_lost_points_have_the_sign_of_a_loss() -> None:
    assert lost_miou({"miou": {"teacher": [0.5, 0.75]}}) == {"teacher": -0.25}


@pytest.mark.parametrize(
    ("student", "preprocess"),
    [
        pytest.param("efficientnet_lite0", "inside", marks=pytest.mark.slow),
        pytest.param("swin_tiny_deeplabv3plus", "outside", marks=pytest.mark.long),
    ],
)
def test_other_students_are_quantised_too(
    odkd: Callable[..., Path], tmp_path: Path, student: str, preprocess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    without = ["student.encoder_weights=null"] if student.startswith("swin") else []
    run = odkd(f"student={student}", "dataset.size=[64,96]", *without)
    path = tmp_path / "net.onnx"
    export(run, "--to", "onnx", "--int8", "--output", path, "--preprocess", preprocess, "--num-frames", "4")
    assert "points" in capsys.readouterr().out
    assert path.stat().st_size < 0.4 * (run / "student.safetensors").stat().st_size
    labels_NHW = ExportedTeacher(str(path), device=torch.device("cpu")).label(
        SampledFrames("", [0, 1], np.zeros((2, 64, 96, 3), np.uint8), None)
    )
    assert labels_NHW.shape == (2, 64, 96)
