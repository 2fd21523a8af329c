"""The scores of a run are scikit-learn's on the predictions that the run stored and the maps as they were drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from extras import need
from image_folders import save
from torch import Tensor, nn
from video_files import write_video

from odkd.config.call_stage import call_stage
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.shards import FrameArray
from odkd.runs.run import OpenRun

NUM_FRAMES, SIZE = 12, (32, 48)
COLOURS = np.random.default_rng(5).permutation(256 * 256)[:19]  # of each class: red and green, blue is 7


class Erratic(nn.Module):
    """A student that predicts some class in each pixel, whatever it learns."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.num_classes = num_classes

    def forward(self, images_BCHW: Tensor) -> Tensor:
        classes_K11 = torch.arange(1, self.num_classes + 1)[:, None, None]
        return torch.sin(1e4 * images_BCHW.sum(1, keepdim=True) * classes_K11) + self.bias


def drawn(num_classes: int, seed: int) -> np.ndarray:
    """Return random label maps [N, H, W]: not every class occurs, a tenth is 255."""
    generator = np.random.default_rng(seed)
    maps = generator.integers(0, max(2, num_classes - 1), (NUM_FRAMES, *SIZE))
    maps[generator.random(maps.shape) < 0.1] = 255
    return maps


def as_values(label_HW: np.ndarray) -> np.ndarray:
    return label_HW


def as_masks(label_HW: np.ndarray) -> np.ndarray:
    return np.array([0, 255, *[100] * 254])[label_HW]


def as_colours(label_HW: np.ndarray) -> np.ndarray:
    codes = np.append(COLOURS, 1)[np.minimum(label_HW, len(COLOURS))]
    return np.stack([codes // 256, codes % 256, np.where(label_HW == 255, 8, 7)], axis=2)


def as_shuffled(label_HW: np.ndarray) -> np.ndarray:
    return (7 * label_HW + 3) % 256


TINYNET, ERRATIC = ["student=tinynet"], ["student._target_=test_scores_of_runs.Erratic"]
IDS_OF_COLOURS = {f"{code // 256} {code % 256} 7": number for number, code in enumerate(COLOURS.tolist())}
CASES = [
    pytest.param(2, TINYNET, as_masks, {0: 0, 255: 1}, id="masks of 0 and 255"),
    pytest.param(19, TINYNET, as_colours, IDS_OF_COLOURS, id="colours"),
    pytest.param(30, ERRATIC, as_shuffled, {(7 * i + 3) % 256: i for i in range(30)}, id="values in any order"),
    pytest.param(180, ERRATIC, as_values, None, id="180 classes"),
]


@pytest.mark.parametrize(("num_classes", "student", "draw", "ids"), CASES)
def test_scores_equal_those_of_scikit_learn_on_the_stored_predictions(
    num_classes: int, student: list[str], draw, ids: dict | None, tmp_path: Path
) -> None:
    write_video(tmp_path / "data/videos/a.mp4", num_frames=NUM_FRAMES, height=SIZE[0], width=SIZE[1])
    references = {"": drawn(num_classes, 1), "_groundtruth": drawn(num_classes, 2)}
    for folder, maps in zip(("teacher", "groundtruth"), references.values(), strict=True):
        for frame, label_HW in enumerate(maps):
            save(tmp_path / f"data/{folder}/a/{frame:06d}.png", draw(label_HW))
    names = [f"class {number}" for number in range(num_classes)]
    cfg = compose_config(
        [
            *("dataset=videos", f"dataset.root={tmp_path}/data", "dataset.groundtruth=groundtruth", "dataset.stride=1"),
            *("dataset.size=[32,48]", f"dataset.classes=[{','.join(names)}]", "window={learn: 4, test: 3, step: 3}"),
            *("teacher=folder", f"teacher.folder={tmp_path}/data/teacher", "device=cpu", "tracking=none"),
            *(*student, "allow_targets=[test_scores_of_runs]", f"paths.outputs={tmp_path}/out"),
        ]
    )
    cfg.dataset.ids = cfg.teacher.ids = ids
    if student is ERRATIC:
        cfg.student = {key: cfg.student[key] for key in ("_target_", "name", "weights", "freeze", "mean", "std")}
    parts = Parts(cfg)
    run = OpenRun(tmp_path / "run", {"key": parts.key}, checkpoint_overhead=cfg.run.checkpoint_overhead)
    with run.open({}, restart=False):
        summary = call_stage(parts, run)
    parts.close()
    stored = FrameArray.open(run.folder / "predictions")
    predicted = np.stack([stored.read(frame) for frame in range(NUM_FRAMES)])
    records = list(run.records())
    assert len(records) == 4
    for suffix, reference in references.items():
        if ids is not None:  # values and colours without a class are ignored
            reference = np.where(reference < len(ids), reference, 255)
        for iteration, record in enumerate(records):
            window = slice(3 * iteration, 3 * iteration + 3)
            assert_equal(record["metrics"], "test", suffix, predicted[window], reference[window], names)
        assert_equal(summary, "total", suffix, predicted, reference, names)


def assert_equal(
    found: dict, scope: str, suffix: str, predicted: np.ndarray, reference: np.ndarray, names: list[str]
) -> None:
    """Assert that scores are scikit-learn's: classes and accuracy bit for bit, their mean up to the order of a sum."""
    sklearn = need("sklearn.metrics")
    is_scored = reference != 255
    true, given = reference[is_scored], predicted[is_scored].astype(np.int64)
    seen = np.union1d(true, given)
    ious = sklearn.jaccard_score(true, given, labels=seen, average=None, zero_division=0)
    expected = {names[number]: iou for number, iou in zip(seen.tolist(), ious.tolist(), strict=True)}
    ours = {name: found[f"{scope}/iou{suffix}/{name}"] for name in names}
    assert {name: iou for name, iou in ours.items() if iou is not None and iou == iou} == expected
    assert found[f"{scope}/accuracy{suffix}"] == sklearn.accuracy_score(true, given)
    assert found[f"{scope}/miou{suffix}"] == pytest.approx(np.mean(ious), rel=1e-15, abs=0)
