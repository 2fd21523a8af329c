"""Masks of 0 and 255, colour masks, and other meanings of pixels, in ground truth and in folders of label maps."""

from pathlib import Path

import numpy as np
import pytest
from image_folders import LABELLING, colours, parts_of, save, truth
from omegaconf import OmegaConf
from PIL import Image
from video_files import write_video

from odkd.common.files import sealed, unseal
from odkd.config.check_parts import check_parts
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.config.words import read_settings
from odkd.data.labels.ids import with_numbers
from odkd.data.labels.pixel_values import PixelValues
from odkd.data.labels.unseen import unseen_warning
from odkd.data.labels.video_groundtruth import ImageLabels

CLASSES = ["background", "car", "person"]
MASK = np.zeros((32, 48), np.uint8)  # the object is a sixth of the picture
MASK[:16, :16] = 255
RGB = np.zeros((32, 48, 3), np.uint8)
RGB[:16, :16], RGB[16:] = (0, 0, 142), (220, 20, 60)
IDS_OF_RGB = np.where(MASK == 255, 1, 0)
IDS_OF_RGB[16:] = 2


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two frames of video and their maps in `masks` and `colours`."""
    root = tmp_path_factory.mktemp("masks")
    write_video(root / "videos" / "a.mp4", num_frames=2, height=32, width=48)
    for frame in range(2):
        save(root / f"masks/a/{frame:06d}.png", MASK)
        save(root / f"colours/a/{frame:06d}.png", RGB)
        (root / "arrays/a").mkdir(parents=True, exist_ok=True)
        np.savez(root / f"arrays/a/{frame:06d}.npz", seg=np.where(MASK == 255, 255, -1).astype(np.int64))
    return root


def video_parts(root: Path, tmp_path: Path, *more: str, classes: str = "[background,car]") -> Parts:
    settings = [f"dataset.root={root}", "dataset.stride=1", "dataset.size=[32,48]", f"dataset.classes={classes}"]
    where = [f"paths.outputs={tmp_path}/outputs", f"paths.labels={tmp_path}/labels", f"paths.cache={tmp_path}/cache"]
    return Parts(compose_config([*LABELLING, "dataset=videos", *settings, *where, *more]))


def test_masks_of_0_and_255_are_warned_about_and_ids_give_255_a_class(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = video_parts(videos, tmp_path, "dataset.groundtruth=masks")
    check_parts(plain)
    assert (
        "ground truth: of 2 classes car never occurs, and 17 % of the pixels are 255 (ignored); if 255 is a class: "
        "dataset.ids={0: 0, 255: 1}"
    ) in caplog.text
    caplog.clear()
    told = video_parts(videos, tmp_path, "dataset.groundtruth=masks", "dataset.ids={0: 0, 255: 1}")
    check_parts(told)
    assert not caplog.text
    assert (truth(told, 1) == (MASK == 255)).all()
    assert told.groundtruth_digest != plain.groundtruth_digest
    assert told.key != plain.key


def test_masks_of_images_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        save(tmp_path / f"data/images/{number}.jpg", colours(32, 48, number))
    save(tmp_path / "data/labels/0.png", MASK)  # an image without a map counts as nothing
    settings = ["dataset.size=[32,48]", "dataset.classes=[background,car]"]
    check_parts(parts_of("images", tmp_path / "data", tmp_path, *settings))
    assert (
        "17 % of the pixels are 255 (ignored); if 255 is a class: ids: {0: 0, 255: 1} in dataset.groundtruth"
        in caplog.text
    )
    caplog.clear()
    told = "dataset.groundtruth=[{files: 'labels/{image}.png', ids: {0: 0, 255: 1}}]"
    check_parts(parts_of("images", tmp_path / "data", tmp_path, *settings, told))
    assert "never" not in caplog.text


@pytest.mark.parametrize(
    ("folder", "settings", "expected"),
    [
        ("masks", ["teacher.ids={0: 0, 255: 1}"], MASK == 255),
        ("arrays", ["teacher.ids={255: 1}", "teacher.ignore=-1"], np.where(MASK == 255, 1, 255)),
        ("colours", ['teacher.ids={"0 0 142": 0, "220 20 60": 1}'], np.array([255, 0, 1])[IDS_OF_RGB]),
    ],
)
def test_ids_give_the_pixels_of_a_folder_teacher_a_meaning(
    videos: Path, tmp_path: Path, folder: str, settings: list[str], expected: np.ndarray
) -> None:
    words = ["teacher=folder", f"teacher.folder={videos / folder}"]
    parts = video_parts(videos, tmp_path, *words, *read_settings(settings, {}, lambda: ["teacher.ids"]))
    parts.label_stream()
    assert (parts.labels.read(1) == expected).all()


def test_a_folder_of_masks_is_warned_about_and_labels_with_other_ids_are_stored_apart(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["teacher=folder", f"teacher.folder={videos / 'masks'}"]
    plain = video_parts(videos, tmp_path, *words)
    plain.label_stream()
    assert (plain.labels.read(0) == MASK).all()
    assert "teacher folder: of 2 classes car never occurs, and 17 % of the pixels are 255" in caplog.text
    told = video_parts(videos, tmp_path, *words, "teacher.ids={0: 0, 255: 1}")
    told.label_stream()
    assert (told.labels.read(0) == (MASK == 255)).all()
    assert (plain.labels.read(0) == MASK).all()


def test_the_warning_needs_a_class_that_never_occurs_and_much_that_is_ignored() -> None:
    def counts(**pixels: int) -> np.ndarray:
        found = np.zeros(256, np.int64)
        for name, number in pixels.items():
            found[int(name[1:])] = number
        return found

    assert unseen_warning(counts(_0=900, _1=50, _2=40, _255=500), CLASSES, "ids={}") is None
    assert unseen_warning(counts(_0=900, _1=900), CLASSES, "ids={}") is None
    assert unseen_warning(counts(_0=9000, _1=900, _255=9), CLASSES, "ids={}") is None
    warning = unseen_warning(counts(_0=900, _1=80, _255=20), CLASSES, "ids={}")
    assert warning is not None
    assert (
        "person never occurs, and 2 % of the pixels are 255 (ignored); if 255 is a class: ids={0: 0, 1: 1, 255: 2}"
        in (warning)
    )
    small = unseen_warning(counts(_0=99999, _255=1), CLASSES, "ids={}")  # a mask of a small object
    assert small is not None
    assert "car, person never occur, and 0.001 %" in small


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_classes_in_every_kind_of_png(mode: str) -> None:
    ids = {"#00008E": 1, "220 20 60": 2, "0 0 0": 0}
    image = Image.fromarray(RGB)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    assert (PixelValues(ids, CLASSES).translate(image) == IDS_OF_RGB).all()


def test_a_label_set_gives_colours_a_meaning_and_other_colours_are_ignored() -> None:
    values = PixelValues("cityscapes", ["person", "car"])
    assert (values.translate(Image.fromarray(RGB)) == np.array([255, 1, 0])[IDS_OF_RGB]).all()
    assert values.translate(Image.fromarray(np.array([[11, 13, 0]], np.uint8))).tolist() == [[0, 1, 255]]


def test_ids_may_begin_with_one_or_be_the_red_of_a_colour() -> None:
    from_one = PixelValues("from_one", CLASSES)
    assert from_one.translate(Image.fromarray(np.array([[0, 1, 3, 255]], np.uint8))).tolist() == [[255, 0, 2, 255]]
    with pytest.raises(ValueError, match="holds 4, which is neither an id of from_one nor 255"):
        from_one.translate(Image.fromarray(np.array([[4]], np.uint8)))
    red = np.array([[[0, 9, 9], [2, 1, 0], [255, 0, 0]]], np.uint8)
    assert PixelValues("red_channel", CLASSES).translate(Image.fromarray(red)).tolist() == [[0, 2, 255]]
    with pytest.raises(ValueError, match="is a L image; expected a colour image"):
        PixelValues("red_channel", CLASSES).translate(Image.fromarray(MASK))


def test_a_map_of_one_bit_has_the_classes_0_and_1() -> None:
    image = Image.fromarray(MASK).convert("1")
    assert (PixelValues(None, CLASSES).translate(image) == (MASK == 255)).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("{0: 0, 255: 2}", r"dataset.ids: ids \{255: 2\}; expected value 0 to 255: class id 0 to 1, or 255"),
        ("{256: 0}", r"dataset.ids: ids \{256: 0\}; expected value 0 to 255"),
        ("{0 0 300: 0}", "dataset.ids: .*expected each colour once, as '255 0 0' or '#ff0000'"),
        ("{0 0 30: 0, 1: 1}", "dataset.ids: .*expected each colour once"),
        ("cityscape", "dataset.ids: there is no label set cityscape; did you mean cityscapes"),
        ("[0,1]", r"dataset.ids=\[0, 1\]; expected null, a name, or a table"),
    ],
)
def test_a_mistake_in_ids_is_one_message_before_a_frame_is_decoded(
    videos: Path, tmp_path: Path, ids: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        video_parts(videos, tmp_path, "dataset.groundtruth=masks", f"dataset.ids={ids}")


def test_a_colour_map_without_ids_is_refused_with_the_setting_that_reads_it(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"000000.png is a RGB image; .*set dataset.ids to the classes of its colours"):
        check_parts(video_parts(videos, tmp_path, "dataset.groundtruth=colours"))
    with pytest.raises(ValueError, match=r"it is a RGB image \(for the classes of colours set teacher.ids="):
        video_parts(videos, tmp_path, "teacher=folder", f"teacher.folder={videos / 'colours'}").label_stream()


def test_a_run_without_ids_keeps_its_key(videos: Path, tmp_path: Path) -> None:
    parts = video_parts(videos, tmp_path, "dataset.groundtruth=masks", "dataset.ids=null")
    before = parts.cfg.copy()
    OmegaConf.set_struct(before, False)
    del before.dataset["ids"]
    assert Parts(before).key == parts.key


def test_ids_of_a_store_that_is_read_again_are_those_that_were_typed() -> None:
    table = {3: 0, 10: 1, 200: 2}  # as texts, which JSON has for keys, they are in another order
    assert with_numbers(unseal(sealed({"ids": table}))["ids"]) == table
    assert with_numbers({"255 0 0": 1}) == {"255 0 0": 1}


def test_maps_of_16_bits_and_grey_maps_of_three_channels_are_read_or_told_how() -> None:
    ids_HW = np.array([[0, 1, 2, 255]], np.uint16)
    assert (PixelValues(None, CLASSES).translate(Image.fromarray(ids_HW)) == ids_HW).all()
    with pytest.raises(ValueError, match="holds 0 to 26001; expected values of 0 to 255"):
        PixelValues("cityscapes_ids", CLASSES).translate(Image.fromarray(np.array([[0, 26001]], np.uint16)))
    grey = Image.fromarray(ids_HW.astype(np.uint8)).convert("RGB")
    with pytest.raises(ValueError, match=r"is a RGB image; .* or ids=red_channel, because its channels are equal"):
        PixelValues(None, CLASSES).translate(grey)
    assert (PixelValues("red_channel", CLASSES).translate(grey) == ids_HW).all()


def test_a_warning_about_ignored_pixels_fits_ids_that_are_set() -> None:
    counts = np.bincount([0, 255, 255, 255], minlength=256)
    warning = unseen_warning(counts, CLASSES, "dataset.ids={}", is_set=True)
    assert warning is not None
    assert "75 % of the pixels are 255 (ignored); they have values or colours to which dataset.ids gives" in warning
    nothing = unseen_warning(np.bincount([255] * 9, minlength=256), CLASSES, "ids: {} in dataset.groundtruth")
    assert nothing is not None
    assert "100 % of the pixels" in nothing


def test_maps_are_counted_once_for_their_warning(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        caplog.clear()
        check_parts(video_parts(videos, tmp_path, "dataset.groundtruth=masks"))
        assert "car never occurs" in caplog.text
        monkeypatch.setattr(ImageLabels, "as_it_lies", None)
