"""Multistage collaborative distillation: what each student learns from and relabels; a plain twin; losses."""

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_twin import PlainTwin
from safetensors.torch import load_file, save
from samples import one_of

from odkd.commands.labels import main as label_tool
from odkd.data.labels.store import LabelStore
from odkd.data.labels.store_files import find_stores
from odkd.data.splits import read_lists
from odkd.report.summary import summary_table

Odkd = Callable[..., Path]
FAST = ["optimizer.lr=1e-3", "teacher.label_noise=0.1", "stage.epochs=2", "run.report=false"]


def summary(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "summary.json").read_text()))


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def stored_names(labels: Path, run: Path, stage: int, student: int) -> list[str]:
    """Return VIDEO/000000 of each frame that a student has labelled, from its label stores."""
    key = json.loads((run / "run.json").read_text())["key"]
    names = []
    for folder in find_stores(labels / f"mckd-{key[:8]}-stage{stage}-student{student}"):
        store = LabelStore(folder)
        assert store.manifest["identity"]["teacher"]["run"] == key
        frames = [store.manifest["sampled_frames"][row] for row in sorted(store.all_stored())]
        names += [f"{Path(store.manifest['video']).stem}/{frame:06d}" for frame in frames]
    return sorted(names)


@pytest.mark.parametrize(
    ("num_rounds", "num_parts"),
    one_of(4, [(2, 2), (3, 3), (3, 2), (2, 3)]),
)
def test_no_student_relabels_what_it_learned_from_and_each_starts_from_the_same_weights(
    odkd: Odkd, cache: Path, num_rounds: int, num_parts: int
) -> None:
    run = odkd("stage=mckd", f"stage.num_rounds={num_rounds}", f"stage.num_parts={num_parts}", *FAST)
    lists = {name: set(names) for name, names in read_lists(run / "splits").items()}
    parts = [lists[f"train_part_{number}"] for number in range(num_parts)]
    assert set.union(*parts) == lists["train"]
    assert sum(map(len, parts)) == len(lists["train"])
    assert sum(len(lists[name]) for name in ("train", "val", "test")) == 30
    for stage in range(1, num_rounds):
        labelled = [set(stored_names(cache / "labels", run, stage, number)) for number in range(num_parts)]
        for number in range(num_parts):
            assert not labelled[number] & parts[number]
            assert labelled[number] & lists["train"] == parts[(number + 1) % num_parts]
        assert sum(map(len, labelled)) == 30
        assert len(set.union(*labelled)) == 30
    trainings = dict.fromkeys(record["training"] for record in records(run))
    students = [f"round_{s}/student_{n}" for s in range(1, num_rounds) for n in range(num_parts)]
    assert list(trainings) == [*students, "final"]
    assert summary(run)["num_trainings"] == num_parts * (num_rounds - 1) + 1
    assert len({record["begun_with"] for record in records(run)}) == 1
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (run / "students").iterdir()}
    assert len(digests) == len(trainings)


def test_every_score_names_its_reference_and_every_file_is_written(
    odkd: Odkd, capsys: pytest.CaptureFixture[str]
) -> None:
    run = odkd("run.plots=true", "stage=mckd", "stage.reference_metric=true", *FAST)
    found = summary(run)
    for name in ("round_1/student_0", "round_1/student_1", "final"):
        for score in ("miou", "miou_per_frame", "accuracy", "f1_weighted", "f1_macro", "miou_128_batches"):
            assert 0 <= found[f"{name}/{score}_groundtruth"] <= 1
            assert 0 <= found[f"{name}/{score}"] <= 1
            assert (f"{name}/{score}_previous_round" in found) == (name == "final")
    assert found["teacher/accuracy_groundtruth"] == pytest.approx(0.91, abs=0.02)
    assert found["round_1/labels/accuracy_groundtruth"] == pytest.approx(0.91, abs=0.01)
    assert found["final/labels/miou_groundtruth"] < found["round_1/labels/miou_groundtruth"]
    assert 0 < found["round_1/agreement/miou"] <= found["round_1/agreement/equal_pixels"] <= 1
    printed = capsys.readouterr().out
    for text in ("against previous round", "mIoU, teacher", "mIoU, round 1, student 1", "mIoU, final student"):
        assert text in printed
    plots = {path.name for path in (run / "plots").iterdir()}
    assert {"losses.png", "rounds.png", "val_miou.png", "val_miou_groundtruth.png"} <= plots
    head = (run / "results.csv").read_text().splitlines()[0]
    assert head.startswith("iteration,training,epoch,final/learning_rate")
    assert "true" not in (run / "MODEL_CARD.md").read_text().split("## Scores")[0].split("</summary>")[0]
    assert load_file(run / "student.safetensors").keys() == load_file(run / "students" / "final.safetensors").keys()


@pytest.mark.slow
def test_the_same_command_gives_the_same_bits_and_another_seed_gives_others(odkd: Odkd) -> None:
    first = odkd("stage=mckd", *FAST)
    lines = (first / "metrics.jsonl").read_text()
    other = odkd("stage=mckd", "bank.memory_gib=0.00001", "run.name=small", *FAST)
    assert (other / "metrics.jsonl").read_text() == lines
    seed = odkd("stage=distill", "seed=1", *FAST)
    assert records(seed)[0]["begun_with"] != records(first)[0]["begun_with"]


def test_pseudo_labels_can_be_inspected_with_odkd_labels(
    odkd: Odkd, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = odkd("stage=mckd_first", "stage.epochs=1", "seed=5")
    assert not (run / "student.safetensors").exists()
    key = json.loads((run / "run.json").read_text())["key"]
    folders = [str(cache / "labels" / f"mckd-{key[:8]}-stage1-student{n}") for n in (0, 1)]
    for command in ("list", "info", "verify"):
        with pytest.raises(SystemExit) as ended:
            label_tool([command, *folders])
        assert ended.value.code == 0
    printed = capsys.readouterr().out
    digest = hashlib.sha256((run / "students" / "round_1-student_0.safetensors").read_bytes()).hexdigest()
    assert f"weights_sha256: {digest}" in printed


@pytest.mark.slow
def test_mckd_first_and_mckd_final_give_the_numbers_of_mckd(odkd: Odkd) -> None:
    whole = odkd("stage=mckd", *FAST)
    first = odkd("stage=mckd_first", *FAST)
    last = odkd("stage=mckd_final", *FAST)
    ends = [[record["metrics"] for record in records(run) if record["training"] == "final"] for run in (whole, last)]
    assert ends[0] == ends[1]
    expected = summary(whole)
    for run in (first, last):
        assert {k: v for k, v in summary(run).items() if not k.startswith("num_")}.items() <= expected.items()
    named = odkd("stage=mckd_final", f"stage.first_run={whole}", "run.name=named", *FAST)
    assert [record["metrics"] for record in records(named)] == ends[1]


def test_a_missing_first_run_is_one_message_with_its_command(odkd: Odkd, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no finished run .*; first run the command  odkd stage=mckd_first"):
        odkd("stage=mckd_final", "seed=9")
    with pytest.raises(ValueError, match=r"has no pseudo_labels\.json"):
        odkd("stage=mckd_final", f"stage.first_run={tmp_path}")
    first = odkd("stage=mckd_first", "stage.epochs=1", "seed=8")
    with pytest.raises(ValueError, match="has other splits of its images"):
        odkd("stage=mckd_final", "stage.epochs=1", "seed=9", f"stage.first_run={first}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage=mckd", "stage.num_parts=1"], "would relabel the pictures that it has learned from"),
        (["stage=mckd_first", "stage.num_rounds=1"], "has no pair rounds"),
        (["stage=distill", "stage.shares=[0.5,0.2]"], "three shares"),
        (["stage=distill", "stage.plain_epochs=2"], "no final student to compare"),
        (["stage=distill", "stage.labelled_share=1"], "expected a number above 0 and below 1"),
        (["stage=distill", "stage.best_against=previous_round"], "final has no such reference"),
        (["stage=distill", "evaluation.predictor=teacher"], "always scores the teacher too"),
        (["stage=supervised", "dataset.groundtruth=null", "teacher=folder"], "needs ground truth"),
    ],
)
def test_a_mistake_is_one_message(odkd: Odkd, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odkd(*overrides)


@pytest.mark.slow
def test_distilling_a_perfect_teacher_is_learning_from_true_labels(odkd: Odkd) -> None:
    distilled = odkd("stage=distill", "stage.epochs=2", "optimizer.lr=1e-3")
    supervised = odkd("stage=supervised", "stage.epochs=2", "optimizer.lr=1e-3")
    files = [(run / "students" / "final.safetensors").read_bytes() for run in (distilled, supervised)]
    assert files[0] == files[1]
    one, other = summary(distilled), summary(supervised)
    assert one["final/miou_groundtruth"] == one["final/miou"] == other["final/miou_groundtruth"]
    assert one["final/labels/miou_groundtruth"] == 1
    assert not [name for name in other if "teacher" in name]
    assert "oracle" not in supervised.name


@pytest.mark.slow
def test_plain_distillation_in_the_same_run_is_scored_and_changes_no_other_number(odkd: Odkd) -> None:
    alone = odkd("stage=mckd", *FAST)
    both = odkd("stage=mckd", "stage.plain_epochs=3", *FAST)
    one, other = summary(alone), summary(both)
    assert {name: other[name] for name in one if not name.startswith("num_")} == {
        name: value for name, value in one.items() if not name.startswith("num_")
    }
    assert [record["training"] for record in records(both)][:3] == ["plain"] * 3
    assert [record for record in records(both) if record["training"] == "plain"] == records(both)[:3]
    assert (other["num_trainings"], other["plain/num_epochs"]) == (4, 3)
    assert 0 < other["plain/miou_groundtruth"] < 1
    assert other["plain/labels/miou_groundtruth"] == other["round_1/labels/miou_groundtruth"]
    assert "mIoU, plain distillation" in summary_table(both)


def test_a_teacher_of_few_labels_and_its_students_learn_from_different_pictures(odkd: Odkd) -> None:
    few = ["stage.labelled_share=0.25", "stage.epochs=1", "optimizer.lr=1e-3"]
    learned = [read_lists(odkd(f"stage={stage}", *few) / "splits") for stage in ("supervised", "mckd")]
    labelled, rest = (set(lists["train"]) for lists in learned)
    assert learned[0]["train"] == learned[0]["train_labelled"] == learned[1]["train_labelled"]
    assert (len(labelled), len(rest), len(labelled & rest)) == (5, 16, 0)
    assert set(learned[1]["train_part_0"]) | set(learned[1]["train_part_1"]) == rest


@pytest.mark.parametrize("student", one_of(2, ["tinynet", "smp"]))
def test_a_supervised_student_can_be_a_teacher(odkd: Odkd, student: str) -> None:
    own = ["student.encoder=mobilenet_v2"] if student == "smp" else []
    run = odkd("stage=supervised", "stage.epochs=1", f"student={student}", *own)
    kinds = {
        "smp": ("teacher=checkpoint", "teacher.checkpoint", "pth"),
        "tinynet": ("teacher=exported", "teacher.file", "pt"),
    }
    choice, key, ending = kinds[student]
    trust = ["teacher.trust=true"] if ending == "pt" else []  # TorchScript is a program
    settings = [f"{key}={run}/teacher.{ending}", "teacher.batch_size=1", "teacher.size=[32,48]", *trust]
    labelled = odkd("stage=label", choice, *settings)
    shares = [summary(run)["final/accuracy_groundtruth"], summary(labelled)["teacher/accuracy_groundtruth"]]
    assert shares[0] == pytest.approx(shares[1], abs=0.15)  # on the test split, and on all pictures


def test_the_summary_names_the_best_of_the_recorded_epochs(odkd: Odkd) -> None:
    run = odkd(
        "stage=distill", "stage.epochs=9", "stage.patience=1", "optimizer.lr=1e-2", "stage.best_against=groundtruth"
    )
    scores = [record["metrics"]["final/val/miou_groundtruth"] for record in records(run)]
    found = summary(run)
    assert found["final/val_best"] == max(scores)
    assert found["final/best_epoch"] == scores.index(max(scores))
    assert found["final/num_epochs"] == len(scores) == found["num_epochs"]
    assert len(scores) in (9, found["final/best_epoch"] + 2)


# --- a plain twin: loops, lists and tensors, without runs, stores or resuming


def test_mckd_equals_a_plain_twin_to_the_bit(odkd: Odkd, cache: Path) -> None:
    """Train two students, relabel, train the final student: from the frames and labels of the run, in plain loops."""
    run = odkd("stage=mckd", "stage.epochs=2", "stage.patience=null", "optimizer.lr=1e-3", "teacher.label_noise=0.1")
    twin = PlainTwin(run)
    lists, adam = twin.lists, partial(torch.optim.Adam, lr=1e-3)
    students = [twin.train(f"round_1/student_{n}", lists[f"train_part_{n}"], twin.taught_NHW, adam) for n in (0, 1)]
    relabelled_NHW = torch.full_like(twin.taught_NHW, 255)
    for number, student in enumerate(students):
        for name in stored_names(cache / "labels", run, 1, number):
            p = twin.names.index(name)
            assert p not in lists[f"train_part_{number}"]
            relabelled_NHW[p] = twin.classes_of(student, p)
    last = twin.train("final", lists["train"], relabelled_NHW, adam)
    for name, student in {"round_1-student_0": students[0], "round_1-student_1": students[1], "final": last}.items():
        expected = save({k: v.contiguous() for k, v in student.state_dict().items()})
        assert (run / "students" / f"{name}.safetensors").read_bytes() == expected, name
    assert [len(lists[f"train_part_{n}"]) for n in (0, 1)] == [11, 10]
    assert summary(run)["num_updates"] == 2 * (3 + 3) + 2 * 6  # epochs, batches of 4


# --- losses between two processes; kills: tests/faults


@pytest.mark.slow
def test_labels_lost_before_resuming_are_recomputed_and_a_lost_student_is_named(
    odkd: Odkd, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["stage=mckd", "stage.num_rounds=3", "seed=77", *FAST]
    whole = odkd(*command)
    expected = summary(whole)

    def stop_at_the_end(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("odkd.training.rounds.agreement", stop_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            odkd(*command, "run.restart=true")
    for folder in (cache / "labels").glob(f"mckd-{whole.name[-8:]}-stage1-*"):
        shutil.rmtree(folder)
    assert summary(odkd(*command)) == expected

    with monkeypatch.context() as patch:
        patch.setattr("odkd.training.rounds.agreement", stop_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            odkd(*command, "run.restart=true")
    (whole / "students" / "round_1-student_0.safetensors").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"round_1-student_0.safetensors is missing or was changed .* run\.restart=true"
    ):
        odkd(*command)
