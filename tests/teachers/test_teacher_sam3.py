"""SAM 3, asked in words: labels of a tiny random network equal those of the library's post-processing."""

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam3_networks import save, transformers
from samples import one_of
from transformers_networks import CPU, images, show

from odkd.common.ignore import IGNORE
from odkd.config.compose import compose_table_config
from odkd.config.construct import construct
from odkd.teachers import SoftTeacher
from odkd.teachers.prompts import read_prompts
from odkd.teachers.sam3 import Sam3Teacher
from odkd.teachers.transformers import TransformersTeacher

PROMPTS: dict[str, Any] = {"car": ["car", "van"], "road": "road", "a bonnet": None, "*": "rest"}
THRESHOLDS = {"instances": 0.235, "semantic": 0.45}  # random networks are of two minds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("transformers") / "sam3")


def teacher_of(folder: Path, masks: Any = "instances", prompts: Any = None, **settings: Any) -> Sam3Teacher:
    given = {"threshold": THRESHOLDS[masks]} | settings
    return Sam3Teacher(str(folder), prompts or PROMPTS, device=CPU, masks=masks, **given)


def library_scores(folder: Path, images_BHWC: np.ndarray, words: str, masks: str, threshold: float) -> np.ndarray:
    """Return the score of a prompt in each pixel, [B, H, W], made as in the library's documentation."""
    processor = transformers.Sam3Processor.from_pretrained(folder)
    network = transformers.Sam3Model.from_pretrained(folder).eval()
    inputs = processor(images=list(images_BHWC), text=[words] * len(images_BHWC), return_tensors="pt")
    sizes = [image_HWC.shape[:2] for image_HWC in images_BHWC]
    with torch.inference_mode():
        outputs = network(**{key: value for key, value in inputs.items() if key != "original_sizes"})
    if masks == "semantic":
        found = processor.post_process_semantic_segmentation(
            outputs, target_sizes=sizes, threshold=threshold, return_segmentation_scores=True
        )
        return np.stack([(one.segmentation_scores[0] * one.segmentation).numpy() for one in found])
    found = processor.post_process_instance_segmentation(outputs, threshold=threshold, target_sizes=sizes)
    scores_BHW = np.zeros(images_BHWC.shape[:3], np.float32)
    for scores_HW, result in zip(scores_BHW, found, strict=True):
        for score, mask_HW in zip(result["scores"], result["masks"], strict=True):
            scores_HW[mask_HW.numpy() > 0] = np.maximum(scores_HW[mask_HW.numpy() > 0], float(score))
    return scores_BHW


@pytest.mark.parametrize(("masks", "size"), one_of(3, list(product(["instances", "semantic"], [(40, 60), (75, 33)]))))
def test_labels_are_those_of_the_librarys_masks(folder: Path, masks: Any, size: tuple[int, int]) -> None:
    frames_BHWC = images(2, *size)
    labels = teacher_of(folder, masks).label(show(frames_BHWC))
    asked = {"car": 0, "van": 0, "road": 1, "a bonnet": IGNORE}
    scores = {words: library_scores(folder, frames_BHWC, words, masks, THRESHOLDS[masks]) for words in asked}
    expected = np.full(labels.shape, 2, np.uint8)  # the rest
    highest = np.full(labels.shape, THRESHOLDS[masks], np.float32)
    for words, number in asked.items():
        is_better = scores[words] > highest
        expected[is_better], highest[is_better] = number, scores[words][is_better]
    np.testing.assert_array_equal(labels, expected)
    assert len(np.unique(labels)) > 2


@pytest.mark.parametrize("masks", ["instances", "semantic"])
def test_soft_labels_sum_to_one_and_agree_with_the_label_maps(folder: Path, masks: Any) -> None:
    teacher = teacher_of(folder, masks, {"car": "car", "road": "road", "*": "rest"})
    assert isinstance(teacher, SoftTeacher)
    frames = show(images(2, 40, 60))
    labels, soft = teacher.label_softly(frames, (40, 60))
    np.testing.assert_array_equal(labels, teacher.label(frames))
    torch.testing.assert_close(soft.sum(1), torch.ones(2, 40, 60))
    chosen = soft.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    torch.testing.assert_close(chosen, soft.max(1).values)


def test_pixels_of_which_nothing_is_found_are_ignored_without_a_rest(folder: Path) -> None:
    labels = teacher_of(folder, "semantic", {"car": "car", "road": "road"}).label(show(images(1, 40, 60)))
    assert set(np.unique(labels)) > {IGNORE}
    assert (teacher_of(folder, threshold=1.0).label(show(images(1, 40, 60))) == 2).all()


def test_the_published_files_of_the_video_model_load_too(folder: Path, tmp_path: Path) -> None:
    """facebook/sam3 holds a Sam3VideoModel: the network that finds, and one that tracks."""
    from safetensors.torch import load_file, save_file

    published = shutil.copytree(folder, tmp_path / "published")
    weights = {f"detector_model.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
    weights["tracker_model.some.weight"] = torch.zeros(1)
    save_file(weights, published / "model.safetensors", metadata={"format": "pt"})
    detector = json.loads((folder / "config.json").read_text())
    (published / "config.json").write_text(json.dumps({"model_type": "sam3_video", "detector_config": detector}))
    frames = show(images(1, 40, 60))
    np.testing.assert_array_equal(teacher_of(published).label(frames), teacher_of(folder).label(frames))


def test_prompts_are_part_of_the_labels_identity(folder: Path) -> None:
    def identity(prompts: Any, **settings: Any) -> Any:
        given = {"model": str(folder), "prompts": prompts, "precision": "float32", "masks": "instances"}
        return Sam3Teacher.identity(given | settings, lambda path: path.name)

    whole = identity({"car": "car", "road": "road"})
    assert identity({"car": ["car"], "road": ["road"]}) == whole  # another way to write the same
    assert identity({"road": "road", "car": "car"}) != whole  # the first one decides ties, and has the first id
    assert identity({"car": "car", "street": "road"}) != whole
    assert identity({"car": "car", "road": "street"}) != whole
    assert identity({"car": "car", "road": "road"}, threshold=0.3) != whole
    json.dumps(whole)


def test_prompts_are_given_in_the_command(folder: Path) -> None:
    words = ["teacher=sam3", f"teacher.model={folder}", "teacher.prompts={a car: car, person: pedestrian, *: road}"]
    cfg = compose_table_config([*words, "dataset.classes=[pedestrian,road,car]"])
    leave_out = ("name", "size", "batch_size", "label_set", "classes", "allow_missing", "soft", "licence", "source")
    teacher = construct(cfg.teacher, leave_out, {"device": CPU}, [], "teacher")
    assert teacher.classes == ["car", "pedestrian", "road"]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, r"expected \{words: class\}"),
        ({"*": "rest"}, r"expected \{words: class\}"),
        ({" ": "car", "road": "road"}, r"expected \{words: class\}"),
        ({"car": "car"}, r"gives 1 classes \(car\); expected 2 to 255: add prompts, or '\*: background'"),
        ({"car": ["car", "van"], "van": "truck"}, "asks for van twice"),
        ({f"thing {number}": f"class {number}" for number in range(256)}, "gives 256 classes"),
    ],
)
def test_prompts_that_cannot_be_asked_are_one_message(prompts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"teacher\.prompts.*{message}"):
        read_prompts(prompts)


def test_a_prompt_that_is_too_long_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"teacher\.prompts: 'a very long.*tokens long; expected at most 32"):
        teacher_of(folder, prompts={"a very long list of words and words and more": "car", "road": "road"})


def test_other_networks_are_sent_where_they_belong(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"is a sam3; load it with teacher=sam3"):
        TransformersTeacher(str(folder), device=CPU)


def test_half_precision_applies_to_the_network_only(folder: Path) -> None:
    frames = show(images(1, 40, 60))
    labels, soft = teacher_of(folder, "semantic", precision="bfloat16").label_softly(frames, (4, 6))
    assert soft.dtype == torch.float32
    assert (labels == teacher_of(folder, "semantic").label(frames)).mean() > 0.5


def test_places_of_a_text_are_numbered_whatever_the_library_left_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = transformers.Sam3Model.from_pretrained

    def unset(*arguments: Any, **settings: Any) -> Any:
        network, info = read(*arguments, **settings)
        network.text_encoder.text_model.embeddings.position_ids.fill_(2**40)
        return network, info

    expected = teacher_of(folder).label(show(images(2, 40, 60)))
    monkeypatch.setattr(transformers.Sam3Model, "from_pretrained", unset)
    np.testing.assert_array_equal(teacher_of(folder).label(show(images(2, 40, 60))), expected)
