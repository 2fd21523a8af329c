"""Runs, stores and YAML files of earlier versions are read under the names of today."""

import inspect
import json
import pydoc
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from odkd.common.renamed import (
    ADDED,
    current_config,
    current_metric,
    current_params,
    current_stored_names,
    current_target,
)
from odkd.config.compose import complete, compose_config
from odkd.runs.results import read_run
from odkd.training.trainer import student_file


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("odkd.replay.mir.Mir", "odkd.training.replay.mir.Mir"),
        ("odkd.losses.CrossEntropy", "odkd.training.losses.CrossEntropy"),
        ("odkd.augment.Augmentation", "odkd.training.augment.Augmentation"),
        ("odkd.video.synthetic.render_dataset", "odkd.data.video.synthetic.render_dataset"),
        ("odkd.stages.online.online", "odkd.stages.online.Online"),
        ("odkd.students.tinynet.TinyNet", "odkd.students.tinynet.TinyNet"),
        ("my_lab.odkd.replay.Mine", "my_lab.odkd.replay.Mine"),
    ],
)
def test_a_class_is_found_where_it_is_now(before: str, now: str) -> None:
    assert current_target(before) == current_target(now) == now


@pytest.mark.parametrize(
    ("stage", "before", "now"),
    [
        ("online", "final/miou_groundtruth", "last/miou_groundtruth"),
        ("online", "mean_final/miou", "mean_last/miou"),
        ("online", "final_segment/miou/003", "last_segment/miou/003"),
        ("online", "test/iou/road", "test/iou/road"),
        ("mckd", "stage_2/student_0/miou_teacher", "round_2/student_0/miou"),
        ("mckd", "final/iou_previous_stage/my_teacher", "final/iou_previous_round/my_teacher"),
        ("mckd", "final/val/miou_per_frame_teacher", "final/val/miou_per_frame"),
        ("distill", "teacher/miou_groundtruth", "teacher/miou_groundtruth"),
    ],
)
def test_a_metric_has_the_name_of_today(stage: str, before: str, now: str) -> None:
    assert current_metric(before, stage) == now
    assert current_metric(now, stage) == now  # names of today stay


def test_final_scores_in_mlflow_are_told_from_series() -> None:
    names = ["final/val/miou_teacher", "final/loss_total", "final/num_epochs", "final/stage_1/student_0/miou_teacher"]
    names += ["final/miou_teacher", "final/teacher/miou_groundtruth"]
    assert current_stored_names(names, "mckd") == {
        "final/val/miou": "final/val/miou_teacher",
        "final/loss_total": "final/loss_total",
        "summary/final/num_epochs": "final/num_epochs",
        "summary/num_epochs": "final/num_epochs",
        "summary/round_1/student_0/miou": "final/stage_1/student_0/miou_teacher",
        "summary/final/miou": "final/miou_teacher",
        "summary/teacher/miou_groundtruth": "final/teacher/miou_groundtruth",
    }
    today = ["summary/last/miou", "test/miou"]
    assert current_stored_names(today, "online") == {name: name for name in today}


def test_settings_have_the_names_of_today() -> None:
    before = {
        "stage": {"_target_": "odkd.stages.mckd.mckd", "num_stages": 3},
        "replay": [{"_target_": "odkd.replay.x"}],
    }
    assert current_config(before) == {
        "stage": {"_target_": "odkd.stages.mckd.Mckd", "num_rounds": 3},
        "replay": [{"_target_": "odkd.training.replay.x"}],
    }
    assert current_params({"stage.seed_metric": "True", "loss._target_": "odkd.losses.kl.KlDivergence"}) == {
        "stage.reference_metric": "True",
        "loss._target_": "odkd.training.losses.kl.KlDivergence",
    }


def test_ids_of_a_config_stay_numbers() -> None:
    assert current_config({"ids": {20: 3}}) == {"ids": {20: 3}}


def test_a_completed_config_names_the_classes_of_today() -> None:
    cfg = compose_config(["debug=smoke"])
    OmegaConf.set_struct(cfg, False)
    cfg.replay._target_ = "odkd.replay.fifo.Fifo"
    assert complete(cfg).replay._target_ == "odkd.training.replay.fifo.Fifo"


def test_a_run_folder_of_before_is_read(tmp_path: Path) -> None:
    record = {"key": "k", "name": "n", "stage": "online", "status": "finished", "tags": {}}
    record |= {"created": "2026-11-20T10:00:00+00:00", "params": {"replay._target_": "odkd.replay.mir.Mir"}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "summary.json").write_text(json.dumps({"final/miou": 0.5, "mean_final/miou": 0.25}))
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"iteration": 0, "metrics": {"test/miou": 0.1}}) + "\n")
    run = read_run(tmp_path)
    assert run.summary == {"last/miou": 0.5, "mean_last/miou": 0.25}
    assert run.params == {"replay._target_": "odkd.training.replay.mir.Mir"}
    assert run.metrics[0]["metrics"] == {"test/miou": 0.1}


def test_a_student_of_a_run_of_before_is_found(tmp_path: Path) -> None:
    before, now = (tmp_path / "students" / f"{name}-student_0.safetensors" for name in ("stage_1", "round_1"))
    assert student_file(tmp_path, "round_1/student_0") == now
    before.parent.mkdir()
    before.write_bytes(b"")
    assert student_file(tmp_path, "round_1/student_0") == before


def test_a_run_of_before_has_the_settings_that_its_classes_got_since() -> None:
    dice = {"loss.parts.dice._target_": "odkd.losses.dice.Dice"}
    found = current_params({"regularizer._target_": "odkd.regularizers.mas.Mas", **dice})
    assert found["regularizer.objective"] == "pixel_mean"
    assert found["loss.parts.dice.absent"] == "left_out"
    now = {"regularizer._target_": "odkd.training.regularizers.mas.Mas", "regularizer.objective": "map_norm"}
    assert current_params(now) == now


@pytest.mark.parametrize(("target", "name"), [(target, name) for target, names in ADDED.items() for name in names])
def test_every_setting_that_a_class_got_since_has_its_earlier_value_by_default(target: str, name: str) -> None:
    parameter = inspect.signature(pydoc.locate(target)).parameters[name]  # type: ignore[arg-type]
    assert parameter.default == ADDED[target][name]


def test_a_run_of_before_has_the_settings_that_its_stage_got_since() -> None:
    before = {"stage.name": "mckd", "stage.shares": "[0.7, 0.2, 0.1]"}
    assert current_params(before) == {**before, "stage.first_run": "None", "stage.devices": "None"}
    assert current_params({"stage.name": "online"}) == {"stage.name": "online"}
