"""SAM 3's video model: labels of a tiny random network equal those of the library's streaming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam3_networks import save, save_video, transformers
from transformers_networks import CPU, images

from odkd.teachers import SampledFrames, SoftTeacher
from odkd.teachers.sam3_video import Sam3VideoTeacher

PROMPTS: dict[str, Any] = {"car": ["car", "van"], "road": "road", "*": "rest"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_video(tmp_path_factory.mktemp("transformers") / "sam3_video")


def show(images_BHWC: np.ndarray, *, begins_clip: bool = True) -> SampledFrames:
    return SampledFrames("v", range(len(images_BHWC)), images_BHWC, None, begins_clip=begins_clip)


def clip(num_frames: int, height: int, width: int) -> np.ndarray:
    return np.stack([np.roll(images(1, height, width)[0], 5 * number, 1) for number in range(num_frames)])


def library_labels(folder: Path, images_BHWC: np.ndarray) -> np.ndarray:
    """Return the label maps of one clip, from the library's streaming as in its documentation."""
    processor = transformers.Sam3VideoProcessor.from_pretrained(folder)
    network = transformers.Sam3VideoModel.from_pretrained(folder).eval()
    session = processor.init_video_session(inference_device="cpu")
    processor.add_text_prompt(session, ["car", "van", "road"])
    ids, labels = {"car": 0, "van": 0, "road": 1}, np.full(images_BHWC.shape[:3], 2, np.uint8)
    for image_HWC, label_HW in zip(images_BHWC, labels, strict=True):
        inputs = processor(images=image_HWC, return_tensors="pt")
        with torch.inference_mode():
            outputs = network(inference_session=session, frame=inputs.pixel_values[0])
        found = processor.postprocess_outputs(session, outputs, original_sizes=inputs.original_sizes)
        highest = np.zeros(label_HW.shape, np.float32)
        for words, number in ids.items():
            for object_id in found["prompt_to_obj_ids"].get(words, []):
                row = found["object_ids"].tolist().index(object_id)
                is_better = found["masks"][row].numpy() & (float(found["scores"][row]) > highest)
                label_HW[is_better], highest[is_better] = number, float(found["scores"][row])
    return labels


@pytest.mark.slow
def test_labels_are_those_of_the_librarys_streaming(folder: Path) -> None:
    teacher = Sam3VideoTeacher(str(folder), PROMPTS, device=CPU)
    frames_BHWC = clip(4, 40, 60)
    expected = library_labels(folder, frames_BHWC)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(teacher.label(show(frames_BHWC)), expected)
    first = teacher.label(show(frames_BHWC[:1]))
    rest = teacher.label(show(frames_BHWC[1:], begins_clip=False))  # in other batches
    np.testing.assert_array_equal(np.concatenate([first, rest]), expected)
    assert teacher.clip_frames == 64
    followed = teacher._session
    assert (len(followed.processed_frames), followed.max_obj_id > 0) == (4, True)
    teacher.label(show(frames_BHWC[:1]))
    assert len(teacher._session.processed_frames) == 1  # a clip begins with a session of its own


def test_soft_labels_sum_to_one_and_agree_with_the_label_maps(folder: Path) -> None:
    teacher = Sam3VideoTeacher(str(folder), PROMPTS, device=CPU)
    assert isinstance(teacher, SoftTeacher)
    labels, soft = teacher.label_softly(show(clip(2, 40, 60)), (40, 60))
    np.testing.assert_array_equal(labels, teacher.label(show(clip(2, 40, 60))))
    torch.testing.assert_close(soft.sum(1), torch.ones(2, 40, 60))
    chosen = soft.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    torch.testing.assert_close(chosen, soft.max(1).values)


def test_prompts_and_clips_are_part_of_the_labels_identity(folder: Path) -> None:
    settings = {"model": str(folder), "prompts": PROMPTS, "precision": "float32", "clip_frames": 64}
    whole = Sam3VideoTeacher.identity(settings, lambda path: path.name)
    for change in ({"clip_frames": 32}, {"prompts": {"car": "car", "*": "rest"}}):
        assert Sam3VideoTeacher.identity(settings | change, lambda path: path.name) != whole


@pytest.mark.slow
def test_the_image_model_alone_is_no_video_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a sam3 and no video model of SAM 3; try teacher=sam3"):
        Sam3VideoTeacher(str(save(tmp_path / "sam3")), PROMPTS, device=CPU)
