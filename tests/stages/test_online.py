"""Online distillation from start to end on a tiny synthetic video."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extras import need
from PIL import Image
from safetensors.torch import load_file

from odkd.data.video.synthetic import render_dataset
from odkd.evaluation.metrics import confusion_matrices, mean_iou, pixel_accuracy
from odkd.runs.results import read_run
from odkd.students.tinynet import TinyNet
from odkd.training.batches import batches_of_pass

Odkd = Callable[..., Path]
SHORT = "dataset.prepare.num_periods=1"  # 10 frames of one domain


def lines(folder: Path) -> str:
    return (folder / "metrics.jsonl").read_text()


def test_the_numbers_of_a_run_can_be_recomputed_from_its_files(odkd: Odkd, cache: Path) -> None:
    run = odkd("teacher.label_noise=0.1", "run.overlay_video=true", "run.plots=true")
    records = [json.loads(line) for line in lines(run).splitlines()]
    assert [r["iteration"] for r in records] == list(range(len(records)))
    assert [r["position"] for r in records] == [4 * i for i in range(len(records))]

    # Read ground truth and predictions with other libraries and score them here.
    predictions = need("zarr").open_array(run / "predictions", mode="r")
    truth = []
    made = {"height": 32, "width": 48, "frame_rate": 4.0, "num_periods": 3, "period_seconds": 5, "seed": 0}
    root = render_dataset(cache / "synthetic", **made)  # type: ignore[arg-type]  # exists: returns at once
    for video in sorted((root / "groundtruth").iterdir()):
        for path in sorted(video.glob("*.png"))[::2]:
            with Image.open(path) as image:
                truth.append(np.asarray(image))
    total = torch.zeros(11, 11, dtype=torch.int64)
    for record in records:
        window = slice(record["position"], record["position"] + 4)
        predicted, reference = torch.from_numpy(predictions[window]), torch.from_numpy(np.stack(truth[window]))
        matrices = confusion_matrices(predicted, reference, 11)
        total += matrices.sum(0)
        metrics = record["metrics"]
        assert metrics["test/miou_groundtruth"] == mean_iou(matrices.sum(0)).item()
        assert metrics["test/accuracy_groundtruth"] == pixel_accuracy(matrices.sum(0)).item()
        assert metrics["test/miou_per_frame_groundtruth"] == mean_iou(matrices).mean().item()
        assert metrics["test/miou"] != metrics["test/miou_groundtruth"]  # the teacher errs
    summary = json.loads((run / "summary.json").read_text())
    assert summary["total/miou_groundtruth"] == mean_iou(total).item()
    assert summary["mean/miou"] == pytest.approx(np.mean([r["metrics"]["test/miou"] for r in records]))

    with (run / "results.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["test/accuracy", "test/miou"]
    assert float(rows[3][1]) == records[2]["metrics"]["test/miou"]
    student = TinyNet(11)
    student.load_state_dict(load_file(run / "student.safetensors"))
    for name in ("MODEL_CARD.md", "overlay.mp4", "plots/miou.png", "config.yaml", "timing.jsonl"):
        assert (run / name).stat().st_size > 0, name


def test_the_student_learns(odkd: Odkd) -> None:
    run = odkd("dataset.prepare.num_periods=1", "dataset.prepare.period_seconds=20", "optimizer.lr=1e-3", "seed=1")
    records = [json.loads(line)["metrics"] for line in lines(run).splitlines()]
    assert records[-1]["test/accuracy"] > records[0]["test/accuracy"] + 0.3
    assert records[-1]["learn/loss_total"] < 0.6 * records[1]["learn/loss_total"]
    assert records[0].get("learn/loss_total") is None  # no past frame yet


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_gives_others(odkd: Odkd) -> None:
    first = lines(odkd(SHORT))
    assert lines(odkd(SHORT, "run.restart=true")) == first
    assert lines(odkd(SHORT, "run.name=elsewhere", "dataset.frame_store=none", "bank.memory_gib=0.00001")) == first
    assert lines(odkd(SHORT, "seed=1")) != first
    assert lines(odkd(SHORT, "run.repeat=1")) != first


def test_a_finished_run_is_not_run_again(odkd: Odkd, capsys: pytest.CaptureFixture[str]) -> None:
    run = odkd()

    def times() -> dict[Path, int]:
        files = [path for path in run.rglob("*") if path.is_file() and path.name != "run.lock"]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    assert odkd() == run
    assert times() == before
    assert "against teacher" in capsys.readouterr().out


@pytest.mark.slow
def test_a_setting_that_changes_numbers_changes_the_run(odkd: Odkd) -> None:
    plain = odkd(SHORT)
    for override in ("stage.order=shuffled", "stage.batch_size=3", "optimizer=sgd", "stage.epochs=2"):
        run = odkd(SHORT, override)
        assert run != plain
        assert lines(run) != lines(plain)


def batches(order: str, selected: list[int], iteration: int = 3) -> list[list[int]]:
    return batches_of_pass(
        selected,
        order=order,
        batch_size=1,
        stream_positions=range(20, 24),
        seed=0,
        iteration=iteration,
        epoch=0,  # type: ignore[arg-type]
    )


def test_a_shuffled_order_is_a_permutation_that_repeats() -> None:
    chosen = list(range(24))
    assert sorted(p for batch in batches("shuffled", chosen) for p in batch) == chosen
    assert batches("shuffled", chosen) == batches("shuffled", chosen) != batches("shuffled", chosen, iteration=4)


@pytest.mark.slow
def test_kinds_of_frames_forwarded_apart_have_two_losses(odkd: Odkd) -> None:
    losses = {}
    for order in ("paired", "paired_apart"):
        run = read_run(
            odkd("replay=uniform", "window.learn=6", "window.step=3", "optimizer.lr=1e-9", f"stage.order={order}")
        )
        losses[order] = [line["metrics"].get("learn/loss_total") for line in run.metrics]
    assert losses["paired"][1] == losses["paired_apart"][1]  # there is nothing to replay yet
    one, two = losses["paired"][-1], losses["paired_apart"][-1]
    assert 1.5 < two / one < 2.5  # the student is as it was: twice its loss, about, because batch norm does not mix


def test_a_paired_order_puts_a_replayed_frame_beside_each_stream_frame() -> None:
    assert batches("paired", [20, 21, 22, 23, 3, 1, 7]) == [[20, 3], [21, 1], [22, 7], [23]]
    assert batches("paired", [5, 20, 3, 1]) == [[20, 5], [3], [1]]
    assert batches("stream", [20, 3]) == [[20], [3]]


def test_learning_from_ground_truth_ignores_a_bad_teacher(odkd: Odkd) -> None:
    good, bad = "teacher.label_noise=0", "teacher.label_noise=0.9"
    rows = [json.loads(lines(odkd(SHORT, t, "stage.learn_from=groundtruth")).splitlines()[-1]) for t in (good, bad)]
    assert rows[0]["metrics"]["test/miou_groundtruth"] == rows[1]["metrics"]["test/miou_groundtruth"]
    assert rows[0]["metrics"]["test/miou"] != rows[1]["metrics"]["test/miou"]


@pytest.mark.slow
def test_channels_last_and_bfloat16_stay_close_to_float32(odkd: Odkd) -> None:
    plain = json.loads(lines(odkd(SHORT)).splitlines()[1])["metrics"]
    for precision in ("float32", "bfloat16"):
        run = odkd(SHORT, "channels_last=true", f"precision={precision}")
        fast = json.loads(lines(run).splitlines()[1])["metrics"]
        assert fast["learn/loss_total"] == pytest.approx(plain["learn/loss_total"], rel=0.03)
        assert fast["test/accuracy"] == pytest.approx(plain["test/accuracy"], abs=0.1)


def test_frames_are_labelled_once_for_all_runs(odkd: Odkd, monkeypatch: pytest.MonkeyPatch) -> None:
    from odkd.teachers.oracle import Oracle

    labelled: list[int] = []
    original = Oracle.label
    monkeypatch.setattr(Oracle, "label", lambda self, f: (labelled.extend(f.frame_numbers), original(self, f))[1])
    odkd("stage=label", "teacher.seed=77", SHORT)
    assert len(labelled) == 10
    odkd("teacher.seed=77", SHORT)
    odkd("teacher.seed=77", "seed=3", "teacher.batch_size=2", SHORT)
    assert len(labelled) == 10
    odkd("teacher.seed=78", SHORT)
    assert len(labelled) == 20


def test_stage_label_scores_the_teacher_against_ground_truth(odkd: Odkd) -> None:
    perfect = json.loads((odkd("stage=label") / "summary.json").read_text())
    noisy = json.loads((odkd("stage=label", "teacher.label_noise=0.5") / "summary.json").read_text())
    assert perfect["teacher/miou_groundtruth"] == 1
    assert noisy["teacher/accuracy_groundtruth"] == pytest.approx(0.5 + 0.5 / 11, abs=0.01)
    assert perfect["num_labelled"] == 30


@pytest.mark.slow
def test_a_fifo_student_falls_after_a_change_of_domain_and_recovers(odkd: Odkd) -> None:
    run = odkd(
        "dataset.prepare.period_seconds=50",
        "dataset.prepare.num_periods=2",
        "dataset.prepare.height=48",
        "dataset.prepare.width=80",
        "dataset.size=[48,80]",
        "window.learn=20",
        "window.test=10",
        "window.step=10",
        "optimizer.lr=1e-3",
    )
    records = [json.loads(line) for line in lines(run).splitlines()]
    change = next(i for i, r in enumerate(records) if r["domain"] != records[0]["domain"])
    miou = [r["metrics"]["test/miou_groundtruth"] for r in records]
    assert miou[change] < 0.6 * miou[change - 1]
    assert max(miou[change + 1 :]) > 1.5 * miou[change]


def test_a_student_that_diverges_stops_its_run_with_a_reason(odkd: Odkd, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not finite in iteration \d+: the student has diverged"):
        odkd("optimizer=sgd", "optimizer.lr=1e30")
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    assert not (run / "student.safetensors").exists()


def test_labelling_ignores_the_window(odkd: Odkd) -> None:
    assert odkd("stage=label", "window.learn=500")
