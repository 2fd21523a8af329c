"""Teachers of Hugging Face transformers: labels of tiny random networks equal the library's."""

import json
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers_networks import (
    CPU,
    FAMILIES,
    NAMES,
    eomt_padded,
    images,
    library_labels,
    save,
    segformer,
    show,
    transformers,
)

from odkd.teachers import SoftTeacher
from odkd.teachers.transformers import TransformersTeacher
from odkd.teachers.transformers_load import class_names


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("transformers")
    return {make.__name__: save(make, root / make.__name__) for make in FAMILIES}


@pytest.mark.parametrize("size", [(64, 96), (75, 130), (101, 67)], ids=str)
@pytest.mark.parametrize("family", [make.__name__ for make in FAMILIES if make is not eomt_padded])
def test_labels_equal_the_librarys(folders: dict[str, Path], family: str, size: tuple[int, int]) -> None:
    teacher = TransformersTeacher(str(folders[family]), device=CPU)
    frames_BHWC = images(3, *size)
    labels = teacher.label(show(frames_BHWC))
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, library_labels(folders[family], frames_BHWC))
    alone = np.concatenate([teacher.label(show(frames_BHWC[i : i + 1])) for i in range(3)])
    np.testing.assert_array_equal(alone[1:2], library_labels(folders[family], frames_BHWC[1:2]))
    assert (labels != alone).mean() < 1e-3  # a batch sums in another order: only ties may fall differently


@pytest.mark.parametrize("family", ["segformer", "mask2former", "eomt_windows"])
def test_half_precision_applies_to_the_network_only(folders: dict[str, Path], family: str) -> None:
    """Scores are summed, compared and normalized in float32."""
    frames_BHWC = images(1, 64, 96)
    teacher = TransformersTeacher(str(folders[family]), device=CPU, precision="bfloat16")
    labels, soft = teacher.label_softly(show(frames_BHWC), (8, 12))
    np.testing.assert_array_equal(labels, library_labels(folders[family], frames_BHWC, torch.bfloat16))
    assert (labels != library_labels(folders[family], frames_BHWC)).any()
    assert soft.dtype == torch.float32


def test_labels_of_padded_frames_align_with_the_frames(folders: dict[str, Path]) -> None:
    teacher = TransformersTeacher(str(folders["eomt_padded"]), device=CPU)
    square = images(2, 90, 90)
    np.testing.assert_array_equal(teacher.label(show(square)), library_labels(folders["eomt_padded"], square))
    wide = images(1, 36, 64)  # fills 36 of the network's 64 rows; the others are black
    black = np.zeros((1, 64, 64, 3), np.uint8)
    black[:, :36] = wide
    padded = library_labels(folders["eomt_padded"], black)
    np.testing.assert_array_equal(teacher.label(show(wide)), padded[:, :36])
    assert (padded[:, :36] != library_labels(folders["eomt_padded"], wide)).any(), "the library no longer stretches"


@pytest.mark.parametrize("family", [make.__name__ for make in FAMILIES])
def test_soft_labels_agree_with_the_label_maps_and_sum_to_one(folders: dict[str, Path], family: str) -> None:
    teacher = TransformersTeacher(str(folders[family]), device=CPU)
    assert isinstance(teacher, SoftTeacher)
    frames = show(images(2, 61, 83))
    labels, soft = teacher.label_softly(frames, (61, 83))
    np.testing.assert_array_equal(labels, teacher.label(frames))
    assert soft.shape == (2, 5, 61, 83)
    assert soft.dtype == torch.float32
    likeliest = soft.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    torch.testing.assert_close(likeliest, soft.max(1).values)
    _, small = teacher.label_softly(frames, (10, 15))
    assert small.shape == (2, 5, 10, 15)
    torch.testing.assert_close(small.sum(1), torch.ones(2, 10, 15))
    assert small.min() >= 0


def test_logits_become_their_softmax(folders: dict[str, Path]) -> None:
    teacher = TransformersTeacher(str(folders["segformer"]), device=CPU)
    frames_BHWC = images(1, 64, 96)
    _, soft = teacher.label_softly(show(frames_BHWC), (64, 96))
    processor = transformers.SegformerImageProcessor.from_pretrained(folders["segformer"])
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folders["segformer"]).eval()
    with torch.inference_mode():
        logits = network(**processor(images=frames_BHWC[0], return_tensors="pt")).logits
        expected = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear").softmax(1)
    torch.testing.assert_close(soft, expected)


@pytest.mark.parametrize("family", ["maskformer", "mask2former", "oneformer"])
def test_scores_of_queries_become_shares_of_their_sum(folders: dict[str, Path], family: str) -> None:
    """Scores by hand: class probability times mask probability, summed over queries."""
    teacher = TransformersTeacher(str(folders[family]), device=CPU)
    outputs: list[Any] = []
    teacher._network.register_forward_hook(lambda *call: outputs.append(call[-1]))
    _, soft = teacher.label_softly(show(images(1, 64, 96)), (64, 96))
    masks = outputs[0].masks_queries_logits
    if family != "oneformer":  # as the library does: first enlarged, for Mask2Former to a square
        size = (384, 384) if family == "mask2former" else masks.shape[-2:]
        masks = torch.nn.functional.interpolate(masks, size=size, mode="bilinear")
    classes = outputs[0].class_queries_logits.softmax(-1)[..., :-1]
    scores = torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())
    scores = torch.nn.functional.interpolate(scores, size=(64, 96), mode="bilinear")
    is_seen = scores.sum(1) > 1e-9  # elsewhere all scores are about 0 and rounding decides
    assert is_seen.float().mean() > 0.5
    shares = (scores / scores.sum(1, keepdim=True)).permute(0, 2, 3, 1)[is_seen]
    torch.testing.assert_close(soft.permute(0, 2, 3, 1)[is_seen], shares, atol=1e-5, rtol=1e-4)


def test_scores_as_logits_give_the_soft_targets_of_mckds_reference_code(folders: dict[str, Path]) -> None:
    frames, size = show(images(1, 64, 96)), (64, 96)
    _, shares = TransformersTeacher(str(folders["oneformer"]), device=CPU).label_softly(frames, size)
    teacher = TransformersTeacher(str(folders["oneformer"]), device=CPU, scores="logits")
    outputs: list[Any] = []
    teacher._network.register_forward_hook(lambda *call: outputs.append(call[-1]))
    _, soft = teacher.label_softly(frames, size)
    classes = outputs[0].class_queries_logits.softmax(-1)[..., :-1]
    scores = torch.einsum("bqc,bqhw->bchw", classes, outputs[0].masks_queries_logits.sigmoid())
    scores = torch.nn.functional.interpolate(scores, size=size, mode="bilinear")
    at_10 = soft ** (1 / 10)  # as the KL divergence does with stored probabilities
    torch.testing.assert_close(at_10 / at_10.sum(1, keepdim=True), (scores / 10).softmax(1), atol=1e-6, rtol=1e-5)
    assert (soft - shares).abs().max() > 0.01
    with pytest.raises(ValueError, match=r"teacher\.scores=logits; a segformer has logits already"):
        TransformersTeacher(str(folders["segformer"]), device=CPU, scores="logits")


def test_labels_from_before_there_were_other_scores_keep_their_identity(folders: dict[str, Path]) -> None:
    settings = {"model": str(folders["oneformer"]), "precision": "float32", "task": "semantic"}
    before = TransformersTeacher.identity(settings, lambda path: path.name)
    assert TransformersTeacher.identity(settings | {"scores": "normalized"}, lambda path: path.name) == before
    assert TransformersTeacher.identity(settings | {"scores": "logits"}, lambda path: path.name) != before


def test_weights_stored_in_half_precision_are_used_in_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folders["segformer"])
    folder = shutil.copytree(folders["segformer"], tmp_path / "half")
    network.bfloat16().save_pretrained(folder)
    frames = show(images(1, 64, 96))
    _, soft = TransformersTeacher(str(folder), device=CPU).label_softly(frames, (64, 96))
    network.float().save_pretrained(folder)  # the same numbers
    _, expected = TransformersTeacher(str(folder), device=CPU).label_softly(frames, (64, 96))
    torch.testing.assert_close(soft, expected)


def test_classes_are_the_networks_in_order_of_their_ids(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = TransformersTeacher(str(folders["mask2former"]), device=CPU)
    assert list(teacher.classes) == list(NAMES.values())
    assert teacher.num_classes == 5
    folder = shutil.copytree(folders["segformer"], tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"]["9"] = config["id2label"].pop("1")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="mine has one output for two classes"):
        class_names(SimpleNamespace(id2label={0: "car"}), "mine")
    with pytest.raises(ValueError, match="numbers its classes"):
        TransformersTeacher(str(folder), device=CPU)


def test_only_a_oneformer_has_tasks(folders: dict[str, Path]) -> None:
    frames = show(images(1, 64, 96))
    probabilities = [
        TransformersTeacher(str(folders["oneformer"]), device=CPU, task=task).label_softly(frames, (8, 8))[1]
        for task in ("semantic", "panoptic")
    ]
    assert not torch.equal(*probabilities)
    with pytest.raises(ValueError, match=r"teacher\.task=panoptic"):
        TransformersTeacher(str(folders["segformer"]), device=CPU, task="panoptic")


def test_incomplete_weights_are_refused_rather_than_filled_with_random_numbers(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["segformer"], tmp_path / "backbone_only")
    weights = load_file(folder / "model.safetensors")
    backbone = {key: value for key, value in weights.items() if key.startswith("segformer.")}
    save_file(backbone, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks \d+ weights"):
        TransformersTeacher(str(folder), device=CPU)


def test_pickled_weights_load_only_as_plain_tensors(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = shutil.copytree(folders["segformer"], tmp_path / "pickled")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    frames = show(images(1, 64, 96))
    expected = TransformersTeacher(str(folders["segformer"]), device=CPU).label(frames)
    np.testing.assert_array_equal(TransformersTeacher(str(folder), device=CPU).label(frames), expected)
    torch.save({"weight": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot read"):
        TransformersTeacher(str(folder), device=CPU)
    assert not Bomb.went_off


class Bomb:
    went_off = False

    def __reduce__(self) -> Any:
        return (setattr, (Bomb, "went_off", True))


def test_folders_that_are_not_supported_are_one_clear_message(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no complete set of weights"):
        TransformersTeacher(str(tmp_path), device=CPU)
    classifier = transformers.SegformerForImageClassification(segformer()[0].config)
    classifier.save_pretrained(tmp_path / "detr")
    config = transformers.DetrConfig(id2label=NAMES)
    config.save_pretrained(tmp_path / "detr")
    with pytest.raises(ValueError, match="cannot read"):
        TransformersTeacher(str(tmp_path / "detr"), device=CPU)
    cropping = shutil.copytree(folders["segformer"], tmp_path / "cropping")
    transformers.BeitImageProcessor(do_center_crop=True).save_pretrained(cropping)
    with pytest.raises(ValueError, match="do_center_crop"):
        TransformersTeacher(str(cropping), device=CPU)


def test_a_missing_extra_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'odkd\[transformers\]'"):
        TransformersTeacher("lab/segformer", device=CPU)


def test_loading_restores_the_librarys_settings(folders: dict[str, Path], capfd: Any) -> None:
    from transformers.utils import logging as theirs

    theirs.set_verbosity_info()
    try:
        TransformersTeacher(str(folders["segformer"]), device=CPU)
        assert theirs.get_verbosity() == logging.INFO
    finally:
        theirs.set_verbosity_warning()
    assert theirs.is_progress_bar_enabled()
    assert theirs.set_tqdm_hook(None) is None
    assert "Loading weights" not in capfd.readouterr().err
