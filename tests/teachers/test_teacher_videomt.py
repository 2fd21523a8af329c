"""VidEoMT, which remembers the frame before: labels of a tiny random network equal the library's for whole clips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers_networks import CPU, NAMES, images, save, segformer, transformers

from odkd.data.labels.store import LabelStore
from odkd.teachers import SampledFrames, SoftTeacher
from odkd.teachers.transformers import TransformersTeacher
from odkd.teachers.videomt import VideomtTeacher

if not hasattr(transformers, "VideomtForUniversalSegmentation"):
    pytest.skip("this transformers has no VidEoMT", allow_module_level=True)


def videomt() -> tuple[Any, Any]:
    config = transformers.VideomtConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_blocks=2,
        image_size=64,
        num_queries=12,
        num_upscale_blocks=1,
        id2label=NAMES,
    )
    return (
        transformers.VideomtForUniversalSegmentation(config),
        transformers.VideomtVideoProcessor(size={"height": 64, "width": 64}),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(videomt, tmp_path_factory.mktemp("transformers") / "videomt")


def clip(num_frames: int, height: int, width: int) -> np.ndarray:
    """Return a clip whose frames differ."""
    return np.stack([np.roll(images(1, height, width)[0], 3 * number, 1) for number in range(num_frames)])


def show(images_BHWC: np.ndarray, *, begins_clip: bool = True) -> SampledFrames:
    return SampledFrames("v", range(len(images_BHWC)), images_BHWC, None, begins_clip=begins_clip)


def library_labels(folder: Path, images_BHWC: np.ndarray) -> np.ndarray:
    """Return the label maps of one clip, made as in the library's documentation."""
    processor = transformers.VideomtVideoProcessor.from_pretrained(folder)
    network = transformers.VideomtForUniversalSegmentation.from_pretrained(folder).eval()
    inputs = processor(videos=[torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)], return_tensors="pt")
    with torch.inference_mode():
        outputs = network(**inputs)
    sizes = [image_HWC.shape[:2] for image_HWC in images_BHWC]
    return np.stack([label.numpy() for label in processor.post_process_semantic_segmentation(outputs, sizes)])


@pytest.mark.parametrize("size", [(64, 96), (75, 41)], ids=str)
def test_labels_equal_the_librarys_for_the_clip(folder: Path, size: tuple[int, int]) -> None:
    teacher = VideomtTeacher(str(folder), device=CPU)
    frames_BHWC = clip(5, *size)
    expected = library_labels(folder, frames_BHWC)
    np.testing.assert_array_equal(teacher.label(show(frames_BHWC)), expected)
    assert len(np.unique(expected)) > 1
    parts = [teacher.label(show(frames_BHWC[:2])), teacher.label(show(frames_BHWC[2:], begins_clip=False))]
    assert (np.concatenate(parts) != expected).mean() < 1e-3  # other batches sum in another order


def test_it_remembers_the_frame_before_and_forgets_at_the_start_of_a_clip(folder: Path) -> None:
    teacher = VideomtTeacher(str(folder), device=CPU)
    frames_BHWC = clip(4, 64, 96)
    together = teacher.label(show(frames_BHWC))
    alone = np.concatenate([teacher.label(show(frames_BHWC[i : i + 1])) for i in range(4)])
    np.testing.assert_array_equal(together[0], alone[0])
    assert (together[1:] != alone[1:]).mean() > 0.01
    np.testing.assert_array_equal(teacher.label(show(frames_BHWC)), together)


def test_soft_labels_agree_with_the_label_maps_and_sum_to_one(folder: Path) -> None:
    teacher = VideomtTeacher(str(folder), device=CPU)
    assert isinstance(teacher, SoftTeacher)
    frames = show(clip(3, 61, 83))
    labels, soft = teacher.label_softly(frames, (61, 83))
    np.testing.assert_array_equal(labels, teacher.label(frames))
    torch.testing.assert_close(soft.sum(1), torch.ones(3, 61, 83))
    likeliest = soft.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    torch.testing.assert_close(likeliest, soft.max(1).values)


def test_the_length_of_a_clip_is_part_of_the_labels_identity(folder: Path) -> None:
    settings = {"model": str(folder), "precision": "float32", "clip_frames": 64}
    whole = VideomtTeacher.identity(settings, lambda path: path.name)
    assert VideomtTeacher.identity(settings | {"clip_frames": 32}, lambda path: path.name) != whole
    assert "video_preprocessor_config.json" in whole["weights"]["files"]
    assert VideomtTeacher(str(folder), device=CPU, clip_frames=32).clip_frames == 32


def test_weights_without_a_processor_get_squares_of_the_networks_size(folder: Path, tmp_path: Path) -> None:
    bare = save(videomt, tmp_path / "bare")
    (bare / "video_preprocessor_config.json").unlink()
    frames = show(clip(2, 64, 96))
    expected = VideomtTeacher(str(folder), device=CPU).label(frames)
    np.testing.assert_array_equal(VideomtTeacher(str(bare), device=CPU).label(frames), expected)


def test_networks_go_to_the_teacher_that_can_run_them(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a videomt; load it with teacher=videomt"):
        TransformersTeacher(str(folder), device=CPU)
    with pytest.raises(ValueError, match=r"is a segformer and no VidEoMT; load it with teacher=transformers"):
        VideomtTeacher(str(save(segformer, tmp_path / "segformer")), device=CPU)


@pytest.mark.slow
def test_runs_label_with_it_alone_and_as_a_member_and_lost_labels_come_back(
    folder: Path, odkd: Callable[..., Path], cache: Path
) -> None:
    sizes = ["dataset.size=[32,48]", "teacher.allow_missing=true", "stage=label"]
    alone = ["teacher=videomt", f"teacher.model={folder}", "teacher.clip_frames=4", "teacher.soft.top_k=2"]
    odkd(*sizes, *alone)
    (store, *_) = sorted((cache / "labels" / "videomt").iterdir())
    files = {path: path.read_bytes() for path in store.rglob("c/**/0") if path.is_file()}
    assert files
    for path in files:
        path.unlink()
    odkd(*sizes, *alone, "run.restart=true")
    assert {path: path.read_bytes() for path in files} == files
    members = f"teacher.members={{video: {{teacher: videomt, model: {folder}, clip_frames: 4}}, truth: oracle}}"
    odkd(*sizes, "teacher=ensemble", members, "teacher.weights={video: 0.5}")
    (store, *_) = sorted((cache / "labels" / "ensemble").iterdir())
    assert LabelStore(store).num_stored() == LabelStore(store).num_frames
