"""With the reference protocol, odkd computes the numbers of a plain training loop."""

import copy
from pathlib import Path

import numpy as np
import pytest
from extras import need

from odkd.config.call_stage import call_stage
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.runs.run import OpenRun

need("sklearn")
need("torchvision")
write_samples, distil = need("bench.plain").write_samples, need("plain_baseline").distil
PROTOCOL = [
    "numerics=reference",
    "debug=smoke",  # small H.264 videos at 48x80
    "dataset.prepare.num_periods=2",
    "dataset.prepare.period_seconds=6",
    "dataset.stride=4",
    "window={learn: 6, test: 3, step: 3}",
    "tracking=none",
    "evaluation.groundtruth=false",
]
WITH_BATCH_NORM = ["student=smp", "student.arch=Unet", "student.encoder=resnet18"]  # and running statistics


@pytest.mark.parametrize(
    "student",
    [
        pytest.param(["student=tinynet", "student.dropout=0"], id="tinynet"),
        pytest.param(WITH_BATCH_NORM, id="batch norm", marks=pytest.mark.slow),
    ],
)
def test_every_score_equals_that_of_the_plain_loop(student: list[str], tmp_path: Path) -> None:
    cfg = compose_config([*PROTOCOL, *student, f"paths.outputs={tmp_path}"])
    parts = Parts(cfg)
    plain_student = copy.deepcopy(parts.learner.student)  # a run's own student starts from the same seed
    window, samples = parts.window, write_samples(parts, tmp_path / "plain")

    run = OpenRun(tmp_path / "run", {"key": parts.key}, checkpoint_overhead=cfg.run.checkpoint_overhead)
    with run.open({}, restart=False):
        call_stage(parts, run)
    parts.close()
    records = [record["metrics"] for record in run.records()]
    results = list(
        distil(
            plain_student,
            samples,
            num_classes=len(parts.classes),
            learn=window.learn,
            test_frames=window.test,
            step=window.step,
            learning_rate=cfg.optimizer.lr,
            mean=cfg.student.mean,
            std=cfg.student.std,
        )
    )
    assert len(records) == len(results)
    assert [result.num_learned for result in results] == [0, 3, 6, 6]
    for record, result in zip(records, results, strict=True):
        names = ["accuracy", "miou", *(f"iou/{name}" for name in parts.classes)]
        ours = np.array([record[f"test/{name}"] for name in names], np.float64)  # None (no such class) becomes NaN
        np.testing.assert_allclose(ours, [result.accuracy, result.miou, *result.class_iou], rtol=0, atol=1e-9)
    assert len({result.miou for result in results}) == len(results)  # the student has learned
