"""Experiments of the papers: their rows, and what the released behaviour changes in each row."""

from itertools import pairwise
from typing import Any

import pytest
from omegaconf import OmegaConf

from odkd.common.dotted import flatten
from odkd.config.compose import compose_config
from odkd.config.known import CONF
from odkd.report.tables.spec import load_table

ROWS = sorted(path.stem for path in (CONF / "experiment" / "houyon2023").glob("*.yaml"))
RELEASED = {
    "mir": {"replay.virtual_learning_rate": "0"},
    "lwf": {"regularizer.reduction": "sum"},
    "mas": {
        "regularizer.objective": "map_norm",
        "regularizer.first_importance": "decayed",
        "regularizer.warmup_passes": "11",
    },
    "rwalk": {"regularizer.is_active": "False"},
}


def settings(experiment: str, *overrides: str) -> dict[str, str]:
    cfg: Any = compose_config([f"experiment={experiment}", "dataset.root=x", *overrides])
    return flatten(OmegaConf.to_container(cfg, resolve=True))


def test_every_row_of_table_1_is_an_experiment() -> None:
    published = {"memoryless", "memoryless_mas", "memoryless_lwf", "memoryless_rwalk", "fifo", "uniform"}
    assert set(ROWS) == published | {"mir_ace", "mir_rwalk", "mir", "prioritized"}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_the_settings_of_the_released_readme(row: str) -> None:
    found = settings(f"houyon2023/{row}")
    assert [found[f"window.{name}"] for name in ("learn", "test", "step")] == ["100", "20", "20"]
    assert [found["optimizer.lr"], found["stage.batch_size"], found["dataset.stride"]] == ["0.0001", "1", "90"]
    assert found["dataset.order.sequence_minutes"] == "20"
    if row.split("_")[0] in ("uniform", "prioritized", "mir"):
        assert found["replay.capacity"] == "250"
    if row.startswith("mir"):
        assert found["replay.candidates"] == "150"
    text = (CONF / "experiment" / "parts" / "houyon2023.yaml").read_text()
    assert "dataset.order.sequence_minutes: 20,40" in text  # -m runs both columns


@pytest.mark.parametrize("row", ROWS)
def test_the_released_behaviour_differs_in_its_named_parameters_only(row: str) -> None:
    expected = {key: value for part in row.split("_") for key, value in RELEASED.get(part, {}).items()}
    exists = (CONF / "experiment" / "houyon2023_released" / f"{row}.yaml").is_file()
    assert exists == bool(expected)
    if exists:
        paper, released = settings(f"houyon2023/{row}"), settings(f"houyon2023_released/{row}")
        assert {key: value for key, value in released.items() if paper.get(key) != value} == expected
        assert released.keys() == paper.keys()


@pytest.mark.parametrize("name", ["players", "vehicles"])
def test_arthus_has_the_published_settings(name: str) -> None:
    found = settings(f"arthus2019/{name}")
    assert [found[f"window.{name}"] for name in ("learn", "test", "step")] == ["67", "67", "5"]
    assert found["optimizer.lr"] == "1e-05"
    assert found["loss.class_weights"] == "inverse_frequency"
    assert found["evaluation.border_pixels"] == "3"
    assert found["dataset.classes"] == "['foreground', 'background']"


@pytest.mark.parametrize("name", ["coco", "cityscapes"])
def test_mckds_reference_has_the_settings_of_its_code(name: str) -> None:
    found = settings(f"mckd/{name}")
    assert found["loss.parts.dice.absent"] == "counted"
    assert found["teacher.scores"] == "logits"
    assert [found["student.upsample"], found["stage.batch_size"], found["stage.patience"]] == ["evaluation", "8", "4"]


def test_the_teacher_of_camvid_is_the_network_that_its_students_are_given() -> None:
    teacher, student = settings("camvid_teacher"), settings("camvid_online")
    assert [teacher[key] for key in ("stage.name", "stage.learn_from", "student.name")] == [
        *("supervised", "groundtruth"),
        student["teacher.name"],
    ]
    assert teacher["dataset.splits"] == "frames.csv"
    augmentation = [teacher[f"augmentation.{key}"] for key in ("scale", "crop", "flip")]
    assert augmentation == ["[0.75, 1.75]", "[320, 320]", "0.5"]


def test_the_classes_of_cdnet_are_made_from_those_of_the_teacher() -> None:
    found = settings("cdnet_online")
    assert found["dataset.classes"] == "['background', 'person', 'vehicle']"
    assert [found[f"teacher.classes.{name}"] for name in ("person", "bus", "*")] == ["person", "vehicle", "background"]


def test_the_recommended_settings_are_reached_step_by_step() -> None:
    rows = load_table("study/recipe_camvid").rows
    steps = [set(row.overrides) for row in rows]
    assert steps[0] == set()
    assert all(fewer < more for fewer, more in pairwise(steps))
    numerics = ["precision=float32", "channels_last=true", "fast_forms=true"]
    assert settings("recommended/camvid") == settings("camvid_online", *rows[-1].overrides, *numerics)


@pytest.mark.parametrize("dataset", ["synthetic", "synthetic_cyclic"])
def test_the_recipe_is_for_any_stream(dataset: str) -> None:
    assert settings("recommended/online", f"dataset={dataset}")["student.ema"] == "0.95"


def test_an_imagenet_student_learns_as_the_others_with_its_own_statistics() -> None:
    found, tiny = settings("recommended/camvid_imagenet"), settings("recommended/camvid")
    assert [found[f"student.{key}"] for key in ("name", "ema", "statistics")] == [
        *("fpn-efficientnet_lite0", "0.95", "frozen"),
    ]
    groups = ("stage.", "optimizer.", "schedule.", "loss.", "replay.", "window.", "dataset.", "precision", "augment")
    differing = {key for key in tiny if key.startswith(groups) and found[key] != tiny[key]}
    assert differing == {"schedule.updates"}  # its decoder begins at random and learns at once


def test_first_weights_of_both_students_come_from_the_same_pictures() -> None:
    found, tiny = settings("recommended/first_weights_imagenet"), settings("recommended/first_weights")
    assert found["student.name"] == settings("recommended/camvid_imagenet")["student.name"]
    differing = {key for key in tiny if key.startswith(("dataset.", "stage.")) and found[key] != tiny[key]}
    assert differing == {"stage.epochs"}


def test_first_weights_have_the_classes_of_camvid() -> None:
    found, stream = settings("recommended/first_weights"), settings("recommended/camvid")
    assert found["dataset.classes"] == found["dataset.groundtruth_classes"] == stream["dataset.classes"]
    assert found["dataset.palette"] == stream["dataset.palette"]
    of_rendered = settings("mckd/synthetic")["dataset.classes"].strip("[]").replace("'", "").split(", ")
    of_stream = stream["dataset.classes"].strip("[]").replace("'", "").split(", ")
    meant = {name: of_stream[int(found[f"dataset.ids.{number}"])] for number, name in enumerate(of_rendered)}
    same = {
        name: name for name in ("road", "pavement", "building", "fence", "pole", "sign", "sky", "car", "pedestrian")
    }
    assert meant == same | {"lane marking": "road", "vegetation": "tree"}
