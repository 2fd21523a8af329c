"""Datasets of user-defined image folders: fitted, labelled, split, and used in the same stages as video."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from image_folders import LABELLING, colours, fitted, ids, names, parts_of, save, truth

from odkd.config.call_stage import call_stage
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.splits import write_lists
from odkd.data.video.fit import FITS, Fit, fit_label, placement


def test_damaged_images_are_left_out_with_a_warning_that_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data"
    for number in range(4):
        save(root / f"images/{number}.png", colours(40, 40, number))
        save(root / f"labels/{number}.png", ids(40, 40, number))
    whole = (root / "images/1.png").read_bytes()
    (root / "images/1.png").write_bytes(whole[: len(whole) // 2])
    (root / "images/3.png").write_bytes(b"no image at all")
    parts = parts_of("images", root, tmp_path, "dataset.size=[32,32]")
    assert names(parts) == ["images/0.png", "images/2.png"]
    assert "2 of 4 images of images are damaged and left out" in caplog.text
    assert str(root / "images/3.png") in caplog.text
    assert (parts.frames.read([1])[0] == fitted(colours(40, 40, 2), (32, 32))).all()
    assert (
        truth(parts, 1)
        == fit_label(ids(40, 40, 2), placement((40, 40), shape=(32, 32), size=(32, 32), fit="stretch"), (32, 32))
    ).all()


@pytest.mark.parametrize("fit_policy", FITS)
def test_labels_of_a_user_defined_folder_are_fitted_like_its_images(tmp_path: Path, fit_policy: Fit) -> None:
    root = tmp_path / "mine"
    save(root / "images/deep/er/wide.png", colours(40, 80))
    save(root / "labels/deep/er/wide.png", ids(40, 80))
    save(root / "images/small.jpeg", colours(20, 20))
    save(root / "labels/small.png", ids(40, 40))  # another size, the same aspect ratio
    parts = parts_of("images", root, tmp_path, "dataset.size=[40,40]", f"dataset.fit={fit_policy}")
    assert names(parts) == ["images/deep/er/wide.png", "images/small.jpeg"]
    image_HWC = parts.frames.read([0])[0]
    assert (image_HWC == fitted(colours(40, 80), (40, 40), fit_policy)).all()
    assert (truth(parts, 1) == ids(40, 40)).all()
    label_HW = truth(parts, 0)
    if fit_policy == "crop":
        assert (label_HW == ids(40, 80)[:, 20:60]).all()
        assert (image_HWC == colours(40, 80)[:, 20:60]).all()
    elif fit_policy == "pad":
        assert (label_HW[:10] == 255).all()
        assert (label_HW[30:] == 255).all()
        assert (label_HW[10:30] == ids(40, 80)[1::2, 1::2]).all()
    else:
        assert (label_HW == ids(40, 80)[:, 1::2]).all()


# --- mistakes


def test_mistakes_in_image_datasets_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    save(root / "images/0.png", colours(40, 40))

    def start(*settings: str) -> None:
        parts = parts_of("images", root, tmp_path, "dataset.size=[32,32]", *settings)
        _ = parts.key
        call_stage(parts, SimpleNamespace(folder=tmp_path))  # type: ignore[arg-type]

    def fails(message: str, *settings: str) -> None:
        with pytest.raises(ValueError, match=message):
            start(*settings)

    fails("teacher=oracle needs ground truth and dataset images has none; expected label maps labels/{image}.png")
    fails("dataset.fit=stretched; expected one of stretch, crop, pad; did you mean stretch", "dataset.fit=stretched")
    fails("dataset.groundtruth=labels; expected", "dataset.groundtruth=labels")
    fails(r"dataset.splits=7; expected {collection: train \| val \| test}", "dataset.splits=7")
    fails("dataset.collections=train; expected a list", "dataset.collections=train")
    save(root / "labels/0.png", np.full((40, 40), 77))
    fails("0.png holds 77, which is neither an id of 19 classes of the dataset nor 255")
    fails("names {city}, which dataset.pictures", 'dataset.groundtruth=[{files: "labels/{city}.png", ids: null}]')
    fails(
        "there is no label set cityscape_ids", 'dataset.groundtruth=[{files: "labels/{image}.png", ids: cityscape_ids}]'
    )
    save(root / "labels/0.png", ids(40, 50))
    fails("ground truth .*0.png is 50x40 pixels, and the image 40x40; expected one aspect ratio")
    save(root / "labels/0.png", colours(40, 40))
    fails("0.png is a RGB image; expected one byte per pixel")


def test_ids_can_be_mapped_in_the_config(tmp_path: Path) -> None:
    save(tmp_path / "data/images/0.png", colours(32, 32))
    save(tmp_path / "data/labels/0.png", np.repeat([[10, 20]], 32, 0).repeat(16, 1))
    entry = 'dataset.groundtruth=[{files: "labels/{image}.png", ids: {20: 3}}]'
    parts = parts_of("images", tmp_path / "data", tmp_path, "dataset.size=[32,32]", entry)
    assert truth(parts, 0)[0].tolist() == [255] * 16 + [3] * 16


# --- official splits


def test_official_splits_are_read_from_lists_and_tables(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(3):
        save(root / f"images/{number}.png", colours(32, 32, number))
        save(root / f"labels/{number}.png", ids(32, 32, number))

    def official(splits: str) -> list[str] | None:
        return parts_of("images", root, tmp_path, "dataset.size=[32,32]", f"dataset.splits={splits}").official_splits

    assert official("null") is None
    assert official("{images: val}") == ["val"] * 3
    write_lists(root / "lists", {"train": ["images/0.png", "images/2.png"], "test": ["images/1.png"]})
    assert official("lists") == ["train", "test", "train"]
    (root / "splits.csv").write_text("split,name\ntrain,images/0.png\nval,images/1.png\n")
    with pytest.raises(ValueError, match=r"leaves out 1 of 3 images, the first is images/2.png"):
        official("splits.csv")
    with pytest.raises(ValueError, match=r"no file or folder .*nowhere.csv"):
        official("nowhere.csv")


# --- through the stages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        save(tmp_path / f"data/images/{number}.png", colours(40 + 8 * number, 64, number))
        save(tmp_path / f"data/labels/{number}.png", ids(40 + 8 * number, 64, number, below=3))
    return tmp_path / "data"


def settings(root: Path, *more: str) -> list[str]:
    return [f"dataset.root={root}", "dataset=images", "dataset.size=[48,64]", "dataset.classes=[a,b,c]", *more]


@pytest.mark.parametrize("fit_policy", FITS)
def test_the_oracle_labels_images_without_an_error_in_any_pixel(
    odkd: Callable[..., Path], folder: Path, fit_policy: str
) -> None:
    run = odkd(*settings(folder, f"dataset.fit={fit_policy}"), base=LABELLING)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["num_labelled"] == 6
    assert summary["teacher/miou_groundtruth"] == 1.0
    assert summary["teacher/ignored_share_groundtruth"] == 0.0


def test_a_network_labels_each_image_once_and_bars_are_ignored(
    odkd: Callable[..., Path], folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import segmentation_models_pytorch as smp
    import torch

    network = smp.create_model("unet", encoder_name="resnet18", encoder_weights=None, classes=3)
    checkpoint = {
        "state_dict": network.state_dict(),
        "arch": "unet",
        "encoder_name": "resnet18",
        "classes": list("abc"),
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    }
    torch.save(checkpoint, tmp_path / "teacher.pth")
    teacher = ["teacher=checkpoint", f"teacher.checkpoint={tmp_path / 'teacher.pth'}", "teacher.size=[64,64]"]
    teacher += ["teacher.soft.top_k=2"]
    base = [*LABELLING, *teacher, f"paths.labels={tmp_path / 'labels'}"]
    with caplog.at_level(logging.INFO):
        run = odkd(*settings(folder, "dataset.fit=pad"), base=base)
    assert json.loads((run / "summary.json").read_text())["num_labelled"] == 6
    (store,) = (tmp_path / "labels/checkpoint").iterdir()
    assert store.name.startswith("images-")
    parts = Parts(compose_config([*base, *settings(folder, "dataset.fit=pad"), f"paths.outputs={tmp_path}"]))
    label_HW = parts.labels.read(5)  # 80 x 64 fills 38.4 of 64 columns, also at the teacher's 64 x 64
    assert (label_HW[:, :13] == 255).all()
    assert (label_HW[:, 51:] == 255).all()
    assert (label_HW[:, 13:51] < 3).all()
    classes_KHW, _ = parts.teacher_labels.read_soft(5)
    assert ((classes_KHW == 255) == (label_HW == 255)).all()  # soft labels are unused in a bar
    # Labels are found for another size with the same aspect ratio, but not for another fit.
    for more, missing in ((("dataset.size=[96,128]",), 0), (("dataset.fit=crop",), 6)):
        fresh = Parts(compose_config([*base, *settings(folder, "dataset.fit=pad"), f"paths.outputs={tmp_path}", *more]))
        labels = fresh.teacher_parts.stores(fresh.sampled, fresh.stream)
        assert len(labels.missing()) == missing


def test_a_student_learns_online_from_images(odkd: Callable[..., Path], folder: Path) -> None:
    window = ["window.learn=2", "window.test=2", "window.step=2", "student=tinynet"]
    run = odkd(*settings(folder, "stage=online", *window), base=LABELLING)
    assert json.loads((run / "summary.json").read_text())["num_iterations"] >= 1


def test_synthetic_images_are_labelled(odkd: Callable[..., Path]) -> None:
    size = ["dataset.prepare.height=32", "dataset.prepare.width=48", "dataset.size=[32,48]"]
    run = odkd("dataset=synthetic_images", "dataset.prepare.period_seconds=10", *size, base=LABELLING)
    assert json.loads((run / "summary.json").read_text())["num_labelled"] == 20
