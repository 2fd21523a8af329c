"""Known image datasets as tiny artificial copies, and CamVid: files, labels and official splits."""

import json
from pathlib import Path

import numpy as np
import pytest
from image_folders import LABELLING, colours, ids, names, parts_of, save, truth
from PIL import Image

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.class_tables import TABLES
from odkd.data.labels.ids import id_table
from odkd.data.labels.sets import label_set


def test_cityscapes_images_labels_and_splits_are_found(tmp_path: Path) -> None:
    root = tmp_path / "cityscapes"
    for split, city in (("train", "aachen"), ("train", "bremen"), ("val", "lindau"), ("test", "berlin")):
        stem = f"{split}/{city}/{city}_000000_000019"
        save(root / f"leftImg8bit/{stem}_leftImg8bit.png", colours(32, 64))
        label_HW = np.full((32, 64), 7)  # road
        label_HW[:, 32:48], label_HW[:, 48:] = 33, 4  # bicycle, and static, which is ignored
        if split != "val":
            save(root / f"gtFine/{stem}_gtFine_labelIds.png", label_HW)
        else:
            save(root / f"gtFine/{stem}_gtFine_labelIds.png", label_HW * 0)
            save(root / f"gtFine/{stem}_gtFine_labelTrainIds.png", np.full((32, 64), 13))
    save(root / "leftImg8bit/train_extra/x/x_0_leftImg8bit.png", colours(32, 64))
    parts = parts_of("cityscapes", root, tmp_path, "dataset.size=[32,64]")
    assert names(parts) == [
        f"leftImg8bit/{split}/{city}/{city}_000000_000019_leftImg8bit.png"
        for split, city in (("train", "aachen"), ("train", "bremen"), ("val", "lindau"), ("test", "berlin"))
    ]
    assert [video.stem for video in parts.stream.videos] == ["train", "val", "test"]
    assert parts.official_splits == ["train", "train", "val", "test"]
    assert truth(parts, 0)[0].tolist() == [0] * 32 + [18] * 16 + [255] * 16
    assert (truth(parts, 2) == 13).all()  # labelTrainIds have precedence


def test_cityscapes_ids_translate_to_the_official_train_ids() -> None:
    table = id_table("cityscapes_ids", label_set("cityscapes").classes)
    official = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert table[official].tolist() == list(range(19))
    assert (np.delete(table[:34], official) == 255).all()
    assert (table[34:255] == -1).all()
    assert set(TABLES["cityscapes_ids_to_cityscapes"]) == set(label_set("cityscapes").classes)


def test_coco_panoptic_segments_become_classes(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    save(root / "val2017/000000000139.jpg", colours(40, 60))
    segments_HW = np.zeros((40, 60), np.int64)
    segments_HW[:, :20], segments_HW[:, 20:40] = 3226956, 65536 + 2 * 256 + 1
    save(
        root / "annotations/panoptic_val2017/000000000139.png",
        np.stack([segments_HW % 256, segments_HW // 256 % 256, segments_HW // 65536], axis=2),
    )
    annotation = {
        "file_name": "000000000139.png",
        "segments_info": [{"id": 3226956, "category_id": 1}, {"id": 66049, "category_id": 200}],
    }
    categories = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}, {"id": 200, "name": "rug-merged"}]
    path = root / "annotations/panoptic_val2017.json"
    path.write_text(json.dumps({"categories": categories, "annotations": [annotation]}))
    settings = ("dataset.collections=[val2017]", "dataset.stride=1", "dataset.size=[40,60]")
    parts = parts_of("coco", root, tmp_path, *settings)
    assert names(parts) == ["val2017/000000000139.jpg"]
    assert truth(parts, 0)[5].tolist() == [0] * 20 + [132] * 20 + [255] * 20  # person, rug-merged, no segment
    path.write_text(json.dumps({"categories": categories, "annotations": [annotation | {"segments_info": []}]}))
    with pytest.raises(ValueError, match=r"has a segment .* does not list; check that both are from one download"):
        truth(parts_of("coco", root, tmp_path, *settings), 0)
    path.unlink()
    with pytest.raises(ValueError, match=r"exists, but not .*panoptic_val2017.json, which says what its segments are"):
        _ = parts_of("coco", root, tmp_path, *settings).key


def test_coco_stuff_pixels_become_classes(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    save(root / "train2017/1.jpg", colours(32, 40))
    save(root / "stuffthingmaps/train2017/1.png", np.repeat([[0, 12, 89, 91, 181, 255, 255, 255]], 32, 0).repeat(5, 1))
    parts = parts_of("coco_stuff", root, tmp_path, "dataset.collections=[train2017]", "dataset.size=[32,40]")
    # Category ids minus one: person, stop sign (COCO left out the id before it), toothbrush, banner, wood.
    assert truth(parts, 0)[0, ::5].tolist() == [0, 11, 79, 80, 170, 255, 255, 255]
    assert [parts.classes[i] for i in (11, 79, 80, 170)] == ["stop sign", "toothbrush", "banner", "wood"]
    assert parts.official_splits == ["train"]


def test_bdd100k_labels_are_found_and_images_without_labels_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "bdd100k"
    for split in ("train", "val", "test"):
        save(root / f"images/10k/{split}/0a0a.jpg", colours(36, 64))
    save(root / "labels/sem_seg/masks/train/0a0a.png", ids(36, 64))
    save(root / "labels/val/0a0a_train_id.png", np.full((36, 64), 18))
    parts = parts_of("bdd100k", root, tmp_path, "dataset.size=[36,64]")
    assert (truth(parts, 0) == ids(36, 64)).all()
    assert (truth(parts, 1) == 18).all()
    assert (truth(parts, 2) == 255).all()  # without labels everything is ignored, with the warning below
    labels = parts.stream_parts.truth_of(parts.stream)
    assert labels is not None
    labels.check(tmp_path / "note")
    assert "1 of 1 images of test have no label map" in caplog.text


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("cityscapes", r"leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset"),
        ("coco", r"expected .*/\{split\}/\{image\}.jpg with \{split\} = test2017. Get test2017.zip .*cocodataset.org"),
        ("coco_stuff", "stuffthingmaps_trainval2017.zip"),
        ("bdd100k", "bdd-data.berkeley.edu"),
        ("images", r"has no images: expected .*/images/\{image\}.\*$"),
    ],
)
def test_the_message_about_missing_data_says_what_to_download_and_the_layout(
    dataset: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        _ = parts_of(dataset, tmp_path / "empty", tmp_path).key
    if dataset != "images":
        with pytest.raises(ValueError, match=message):
            parts_of(dataset, tmp_path / "nowhere", tmp_path)
        with pytest.raises(ValueError, match=r"dataset.root is not set; add dataset.root=.*FOLDER"):
            Parts(compose_config([*LABELLING, f"dataset={dataset}"]))


def test_a_dataset_can_be_used_with_some_of_its_collections(tmp_path: Path) -> None:
    save(tmp_path / "data/images/10k/val/0.jpg", colours(36, 64))
    with pytest.raises(ValueError, match=r"has no images of train, test: .*or set dataset.collections=\[val\]"):
        _ = parts_of("bdd100k", tmp_path / "data", tmp_path).sampled
    parts = parts_of(
        "bdd100k",
        tmp_path / "data",
        tmp_path,
        "dataset.collections=[val]",
        "teacher=checkpoint",
        "++teacher.checkpoint=README.md",
    )
    assert len(parts.sampled) == 1
    assert parts.groundtruth is None


def test_camvid_frames_are_images_with_names_labels_and_the_splits_of_the_tutorial(
    camvid: Path, tmp_path: Path
) -> None:
    parts = parts_of("camvid_images", camvid, tmp_path, "dataset.size=[36,48]")
    found = names(parts)
    assert len(set(found)) == 530
    assert (found[0], found[-1]) == ("01_0006R0/000000", "03_0016E5/000304")
    official = parts.official_splits
    assert official is not None
    assert [official.count(split) for split in ("train", "val", "test")] == [367, 101, 62]
    assert set(official[:101]) == {"train"}
    with Image.open(camvid / "groundtruth/02_0001TP/000007.png") as image:
        assert (truth(parts, 101 + 7) == np.asarray(image)).all()
