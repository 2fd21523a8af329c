"""Datasets of images: files found by pattern, fitted, labelled, and used in the same stores and stages as video."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odkd.config.call_stage import call_stage
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.class_tables import TABLES
from odkd.data.labels.ids import id_table
from odkd.data.labels.sets import label_set
from odkd.data.splits import write_lists
from odkd.data.video.decode import decode_frames
from odkd.data.video.fit import FITS, Fit, fit_label, fit_picture, placement
from odkd.data.video.image_index import ImageIndex, index_images
from odkd.data.video.patterns import fill, find_files

TINY = ["stage=label", "teacher=oracle", "device=cpu", "tracking=none", "run.overlay_video=false", "run.report=false"]


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
    return path


def colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ids(height: int, width: int, seed: int = 0, below: int = 19) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, (height, width), dtype=np.uint8)


def parts_of(dataset: str, root: Path, tmp_path: Path, *more: str) -> Parts:
    return Parts(
        compose_config(
            [*TINY, f"dataset={dataset}", f"dataset.root={root}", f"paths.outputs={tmp_path / 'outputs'}", *more]
        )
    )


def names(parts: Parts) -> list[str]:
    return [parts.stream.name_of(position) for position in range(len(parts.stream))]


def truth(parts: Parts, position: int) -> np.ndarray:
    assert parts.groundtruth is not None
    return parts.groundtruth.read(position)


# --- patterns


def test_patterns_find_matching_files_that_are_not_hidden(tmp_path: Path) -> None:
    for name in (
        "a/train/x/1_p.png",
        "a/val/2_p.png",
        "a/val/y/z/3_p.png",
        "a/train/.4_p.png",
        "b/val/5_p.png",
        "6.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = dict(find_files(tmp_path, "a/{split}/{image}_p.png"))
    assert found == {
        "a/train/x/1_p.png": {"split": "train", "image": "x/1"},
        "a/val/2_p.png": {"split": "val", "image": "2"},
        "a/val/y/z/3_p.png": {"split": "val", "image": "y/z/3"},
    }
    found = dict(find_files(tmp_path, "a/{split}/{city}/{image}_p.png"))
    assert found.keys() == {"a/train/x/1_p.png", "a/val/y/z/3_p.png"}  # {city} matches exactly one folder
    assert found["a/val/y/z/3_p.png"] == {"split": "val", "city": "y", "image": "z/3"}
    assert dict(find_files(tmp_path, "{image}.*")).keys() >= {"6.png"}
    assert fill("l/{split}/{image}.png", {"split": "val", "image": "y/z/3"}) == "l/val/y/z/3.png"


# --- fit


def test_placements_of_worked_cases() -> None:
    def seen(fit: Fit, source: tuple[int, int]) -> tuple[tuple[float, ...], slice, slice]:
        place = placement(source, shape=(40, 80), size=(40, 80), fit=fit)
        return place.box, place.rows, place.columns

    assert seen("stretch", (30, 90)) == ((0, 0, 90, 30), slice(0, 40), slice(0, 80))
    assert seen("crop", (30, 90)) == ((15, 0, 75, 30), slice(0, 40), slice(0, 80))  # 60 of 90 columns
    assert seen("crop", (100, 80)) == ((0, 30, 80, 70), slice(0, 40), slice(0, 80))  # 40 of 100 rows
    assert seen("pad", (100, 80))[1:] == (slice(0, 40), slice(24, 56))  # 32 columns wide
    assert seen("pad", (20, 80))[1:] == (slice(10, 30), slice(0, 80))
    # The same part is visible at another size.
    half = placement((30, 90), shape=(40, 80), size=(20, 40), fit="crop")
    assert half.box == (15, 0, 75, 30)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("source", [(24, 40), (40, 24), (32, 32), (7, 90)])
def test_fitted_image_and_label_map_agree(fit: Fit, source: tuple[int, int]) -> None:
    """Fit an image whose grey values encode its labels; both must agree except at the edges of its blocks."""
    size = (64, 64)
    blocks_HW = np.kron(ids(*source, below=2), np.ones((16, 16), np.uint8))
    place = placement((blocks_HW.shape[0], blocks_HW.shape[1]), shape=size, size=size, fit=fit)
    label_HW = fit_label(blocks_HW, place, size)
    picture = Image.fromarray(blocks_HW * 255).convert("RGB").resize(blocks_HW.shape[::-1])
    image_HW = fit_picture(picture, place, size)[..., 0].astype(int)
    is_bar_HW = label_HW == 255
    assert is_bar_HW.any() == (fit == "pad" and source != (32, 32))
    assert (image_HW[is_bar_HW] == 0).all()
    sure_HW = ~is_bar_HW & ((image_HW < 60) | (image_HW > 195))
    assert sure_HW.any()
    agree = (image_HW[sure_HW] > 127) == (label_HW[sure_HW] == 1)
    assert agree.mean() > 0.97


# --- the index and the reader


def indexed(tmp_path: Path, files: Sequence[str], fit: Fit = "stretch", size: tuple[int, int] = (32, 32)) -> ImageIndex:
    return index_images(tmp_path, "all", files, size=size, fit=fit, cache=tmp_path / "cache")


def test_images_are_read_in_natural_order_with_the_pixels_of_pillow(tmp_path: Path) -> None:
    save(tmp_path / "10.png", colours(32, 32, 1))
    save(tmp_path / "9.png", colours(32, 32, 2))
    index = indexed(tmp_path, ["10.png", "9.png"])
    assert index.names == ("9.png", "10.png")  # natural order
    found = dict(decode_frames(index, [0, 1]))
    assert found[0] is not None
    assert (found[0] == colours(32, 32, 2)).all()
    assert index.sizes == ((32, 32), (32, 32))


def test_orientation_transparency_and_16_bit_depth_are_handled(tmp_path: Path) -> None:
    picture_HWC = colours(48, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes the image upright
    stored = np.ascontiguousarray(np.rot90(picture_HWC))
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.dstack([picture_HWC, np.full((48, 32), 7, np.uint8)])).save(tmp_path / "alpha.png")
    deep_HW = picture_HWC[..., 0].astype(np.uint16) << 8
    Image.fromarray(deep_HW).save(tmp_path / "deep.png")
    index = indexed(tmp_path, ["alpha.png", "deep.png", "turned.png"], size=(48, 32))
    assert index.sizes == ((48, 32),) * 3
    alpha, deep, turned = (image for _, image in decode_frames(index, [0, 1, 2]))
    assert (turned == picture_HWC).all()
    assert (alpha == picture_HWC).all()
    assert deep is not None
    assert (deep[..., 0] == picture_HWC[..., 0]).all()


def test_the_digest_depends_only_on_names_contents_and_the_visible_part(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder / "0.png", colours(32, 40, 1))
        save(tmp_path / folder / "1.png", colours(32, 40, 2))
    cache = tmp_path / "cache"

    def digest(folder: str, files: Sequence[str], fit: Fit = "crop", size: tuple[int, int] = (32, 32)) -> str:
        return index_images(tmp_path / folder, "all", files, size=size, fit=fit, cache=cache).digest

    first = digest("a", ["0.png", "1.png"])
    assert first == digest("b", ["1.png", "0.png"])  # the folder does not matter
    assert first == digest("a", ["0.png", "1.png"], size=(64, 64))  # the same part is visible at another size
    assert first != digest("a", ["0.png", "1.png"], size=(32, 64))
    assert first != digest("a", ["0.png", "1.png"], fit="pad")
    assert first != digest("a", ["0.png"])
    save(tmp_path / "a" / "1.png", colours(32, 40, 3))
    assert first != digest("a", ["0.png", "1.png"])


def test_the_index_of_a_collection_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "0.png", colours(32, 32))
    first = indexed(tmp_path, ["0.png"])
    monkeypatch.setattr("odkd.data.video.image_index._facts", None)
    assert indexed(tmp_path, ["0.png"]) == first


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
    assert (parts.frames.read([1])[0] == fit(colours(40, 40, 2), (32, 32))).all()
    assert (
        truth(parts, 1)
        == fit_label(ids(40, 40, 2), placement((40, 40), shape=(32, 32), size=(32, 32), fit="stretch"), (32, 32))
    ).all()


def fit(image_HWC: np.ndarray, size: tuple[int, int], how: Fit = "stretch") -> np.ndarray:
    height, width, _ = image_HWC.shape
    return fit_picture(Image.fromarray(image_HWC), placement((height, width), shape=size, size=size, fit=how), size)


# --- tiny artificial copies of the known datasets


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
    labels.check()
    assert "1 of 1 images of test have no label map" in caplog.text


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
    assert (image_HWC == fit(colours(40, 80), (40, 40), fit_policy)).all()
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
            Parts(compose_config([*TINY, f"dataset={dataset}"]))


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


def test_mistakes_in_image_datasets_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    save(root / "images/0.png", colours(40, 40))

    def start(*settings: str) -> None:
        parts = parts_of("images", root, tmp_path, "dataset.size=[32,32]", *settings)
        _ = parts.key
        call_stage(parts, None)  # type: ignore[arg-type]

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
    run = odkd(*settings(folder, f"dataset.fit={fit_policy}"), base=TINY)
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
    base = [*TINY, *teacher, f"paths.labels={tmp_path / 'labels'}"]
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
    run = odkd(*settings(folder, "stage=online", *window), base=TINY)
    assert json.loads((run / "summary.json").read_text())["num_iterations"] >= 1


def test_synthetic_images_are_labelled(odkd: Callable[..., Path]) -> None:
    size = ["dataset.prepare.height=32", "dataset.prepare.width=48", "dataset.size=[32,48]"]
    run = odkd("dataset=synthetic_images", "dataset.prepare.period_seconds=10", *size, base=TINY)
    assert json.loads((run / "summary.json").read_text())["num_labelled"] == 20
