"""Files of label maps that are damaged, of another shape, or missing: one line before the run, with the file's name."""

import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from image_folders import LABELLING, save
from PIL import Image
from video_files import write_video

from odkd.config.check_parts import check_parts
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.map_files import check_once, open_map
from odkd.data.labels.missing_maps import nothing_there, what_is_there
from odkd.data.video.index import index_video

FRAMES = range(0, 20, 2)
SETTINGS = ["dataset=videos", "dataset.root=.", "dataset.stride=2", "dataset.size=[64,96]", "device=cpu"]
SETTINGS += ["dataset.classes=[road,car,person]", "dataset.groundtruth=groundtruth", "stage=label", "tracking=none"]
SETTINGS += ["run.report=false", "run.overlay_video=false"]
IDS_HW = np.random.default_rng(0).integers(0, 3, (64, 96), np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", num_frames=20)


@pytest.fixture
def check(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that checks a command in a folder with a video and its ground truth, as before a run."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    Path("videos/a.mp4").symlink_to(video)
    for frame in FRAMES:
        save(Path(f"groundtruth/a/{frame:06d}.png"), IDS_HW)
    return lambda *words: check_parts(Parts(compose_config([*SETTINGS, *words])))


def damaged(how: str, content: bytes) -> bytes:
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0x10
    return {"cut": content[:60], "empty": b"", "text": b"<html>404</html>", "one bit": bytes(flipped)}[how]


@pytest.mark.parametrize("how", ["cut", "empty", "text", "one bit"])
def test_a_damaged_map_of_any_frame_is_named_before_the_run(check: Callable[..., None], how: str) -> None:
    path = Path("groundtruth/a/000014.png")
    sound = path.read_bytes()
    path.write_bytes(damaged(how, sound))
    with pytest.raises(ValueError, match=r"ground truth .*groundtruth/a/000014\.png cannot be read .*repair or delete"):
        check()
    assert not Path("outputs/runs").exists()
    path.write_bytes(sound)
    check()


def test_no_changed_bit_of_a_png_passes_as_another_map(tmp_path: Path) -> None:
    path = save(tmp_path / "map.png", IDS_HW[:16, :16])
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        try:
            with open_map(path) as image:
                np.testing.assert_array_equal(np.asarray(image), IDS_HW[:16, :16])
        except ValueError as error:
            assert "map.png" in str(error)  # noqa: PT017 - most changes raise, and none may pass


def test_maps_are_opened_once_for_each_version_of_their_contents(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(2):
        check_once(seen.append, range(9), tmp_path / "note")
    assert sorted(seen) == list(range(9))
    with pytest.raises(ZeroDivisionError):
        check_once(lambda position: 1 // (position - 5), range(9), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_no_map_is_kept_after_its_check(tmp_path: Path) -> None:
    maps: list[weakref.ref[np.ndarray]] = []
    most = 0

    def read(position: int) -> np.ndarray:
        nonlocal most
        most = max(most, sum(known() is not None for known in maps))
        label_HW = np.full((2, 2), position, np.uint8)
        maps.append(weakref.ref(label_HW))
        return label_HW

    check_once(read, range(200), tmp_path / "note.json")
    assert len(maps) == 200
    assert most < 50  # a few for each thread


@pytest.mark.parametrize("size", [(96, 64), (64, 64), (64, 104), (48, 96)])
def test_ground_truth_of_another_shape_is_refused(check: Callable[..., None], size: tuple[int, int]) -> None:
    save(Path("groundtruth/a/000006.png"), np.zeros(size, np.uint8))
    with pytest.raises(ValueError, match=rf"000006\.png is {size[1]}x{size[0]} pixels, and the video 96x64; expected"):
        check()


@pytest.mark.parametrize("size", [(32, 48), (128, 192), (21, 32)])
def test_ground_truth_of_the_same_shape_up_to_scale_is_taken(check: Callable[..., None], size: tuple[int, int]) -> None:
    for frame in FRAMES:
        save(Path(f"groundtruth/a/{frame:06d}.png"), np.zeros(size, np.uint8))
    check()


@pytest.mark.usefixtures("check")
def test_maps_of_a_folder_are_held_to_the_shape_of_the_video_or_of_the_teacher() -> None:
    for frame in FRAMES:
        save(Path(f"maps/a/{frame:06d}.png"), np.zeros((96, 64), np.uint8))

    def label(*words: str) -> None:
        parts = Parts(compose_config([*SETTINGS, "teacher=folder", "teacher.folder=maps", *words]))
        parts.label_stream()

    with pytest.raises(ValueError, match=r"teacher folder for a/000000 is 64x96 pixels, and the picture 96x64; .*size"):
        label()
    label("teacher.size=[96,64]")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["00000.png", "00002.png"], "the numbers have 5 digits, expected six: 000000"),
        (["00000000.png", "00000002.png"], "the numbers have 8 digits, expected six: 000000"),
        (["0.png", "2.png"], "the numbers have 1 digit, expected six: 000000"),
        (["frame_000000.png"], "the names have more than the frame's number, expected 000000.png"),
        (["000000.PNG", "000002.PNG"], "the ending .PNG is not .png, rename them"),
        (["000000.jpg"], ".jpg loses class ids, save the maps as .png"),
        (["000000.tif"], "the ending .tif is not read, save them as .png"),
        (
            [f"{i:06d}.png" for i in range(10)],
            "sampled frames from 0: name each by its frame, 000002",
        ),
        ([f"{i + 1:06d}.png" for i in range(20)], "they count from 1, and odkd from 0: subtract 1 from each"),
        ([f"{i:06d}.png" for i in range(0, 20, 5)], "there is one for 5 frames: set dataset.stride=5, or a multiple"),
        ([f"{40 * i:06d}.png" for i in range(20)], "their numbers go up to 760, beyond the video: name each by its"),
        (["notes.txt"], "has no pictures, but notes.txt"),
        ([], "has no files"),
    ],
)
def test_a_message_about_missing_maps_says_what_is_there(tmp_path: Path, names: Sequence[str], expected: str) -> None:
    (tmp_path / "a").mkdir()
    for name in names:
        (tmp_path / "a" / name).touch()
    assert expected in what_is_there(tmp_path / "a", list(FRAMES), (".png",))


def test_a_missing_folder_of_maps_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "my_drive").mkdir()
    found = what_is_there(tmp_path / "mydrive", list(FRAMES), (".png",))
    assert found.endswith("has my_drive; did you mean my_drive?")
    (tmp_path / "Caf\u00e9").mkdir()
    assert "the same name in another Unicode form" in what_is_there(tmp_path / "Cafe\u0301", [0], (".png",))
    (tmp_path / "my_drive" / "000000.PNG").touch()
    (tmp_path / "Caf\u00e9").rmdir()
    assert nothing_there(tmp_path, (".png", ".npz")).endswith("the ending .PNG is not .png, rename them")


def test_the_numbering_that_fits_is_offered(tmp_path: Path) -> None:
    for number in range(10):
        Image.fromarray(IDS_HW).save(tmp_path / f"{number:06d}.png")
    found = what_is_there(tmp_path, [0, 75, 150], (".png", ".npz"), "frame")
    assert found.endswith("they seem to count sampled frames: set teacher.numbering=sample")
    for number in range(10):
        (tmp_path / f"{number:06d}.png").rename(tmp_path / f"{75 * number:06d}.png")
    assert what_is_there(tmp_path, [0, 1, 2], (".png",), "sample").endswith("set teacher.numbering=frame")


def test_the_message_of_the_ground_truth_has_it(check: Callable[..., None]) -> None:
    for path in Path("groundtruth/a").iterdir():
        path.rename(path.with_suffix(".PNG"))
    with pytest.raises(ValueError, match=r"10 of 10 ground-truth maps are missing, .*; .*ending \.PNG is not"):
        check()


def replaced(path: Path, how: str) -> None:
    """Put something else at the path of a map."""
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if how == "loop" else "/nowhere/x.png")


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("folder", "is a folder; expected a picture"),
        ("pipe", "is no plain file"),
        ("loop", "is a link to"),
        ("link", "is a link to /nowhere/x.png, which is not there; fetch or mount it"),
    ],
)
def test_what_is_no_file_where_a_map_should_be_is_named(check: Callable[..., None], how: str, what: str) -> None:
    for frame in FRAMES:
        save(Path(f"maps/a/{frame:06d}.png"), IDS_HW)
    for place in ("groundtruth", "maps"):
        replaced(Path(f"{place}/a/000014.png"), how)
    with pytest.raises(ValueError, match=rf"ground truth .*groundtruth/a/000014\.png {what}"):
        check()
    folder = ["teacher=folder", "teacher.folder=maps"]
    with pytest.raises(ValueError, match=rf"label map maps/a/000014\.png {what}"):
        Parts(compose_config([*SETTINGS, *folder, "dataset.groundtruth=null"])).label_stream()


@pytest.mark.usefixtures("check")
def test_a_link_to_a_map_that_is_away_is_no_image_without_a_map() -> None:
    for number in range(2):
        save(Path(f"data/images/{number}.png"), np.zeros((32, 48, 3), np.uint8))
        save(Path(f"data/labels/{number}.png"), np.zeros((32, 48), np.uint8))
    replaced(Path("data/labels/1.png"), "link")
    words = ["dataset=images", "dataset.root=data", "dataset.size=[32,48]", "dataset.classes=[road,car]"]
    with pytest.raises(ValueError, match=r"ground truth data/labels/1\.png is a link to /nowhere"):
        check_parts(Parts(compose_config([*LABELLING, *words])))


def test_a_jpeg_is_no_label_map_whatever_it_is_called(check: Callable[..., None]) -> None:
    Image.fromarray(IDS_HW).save("groundtruth/a/000014.png", format="JPEG")
    with pytest.raises(ValueError, match=r"000014\.png cannot be read \(it is a JPEG, whose compression changes"):
        check()


@pytest.mark.usefixtures("check")
def test_truth_of_two_sizes_in_a_video_is_no_oracle() -> None:
    save(Path("groundtruth/a/000002.png"), IDS_HW.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ValueError, match="truth of a has maps of 96x64 and of 192x128 pixels; teacher=oracle needs"):
        Parts(compose_config([*SETTINGS, "teacher=oracle"])).label_stream()


@pytest.mark.parametrize(("width", "is_right"), [(96, True), (128, True), (72, False)])
def test_truth_of_a_video_with_oblong_pixels_is_as_it_is_stored_or_displayed(
    check: Callable[..., None], tmp_path: Path, width: int, is_right: bool
) -> None:
    Path("videos/a.mp4").unlink()
    index = index_video(write_video(Path("videos/a.mp4"), num_frames=20, pixel_aspect=Fraction(4, 3)), tmp_path)
    assert (index.width, index.shapes) == (96, [(64, 96), (64, 128)])
    for frame in FRAMES:
        save(Path(f"groundtruth/a/{frame:06d}.png"), np.zeros((64, width), np.uint8))
    with nullcontext() if is_right else pytest.raises(ValueError, match="is 72x64 pixels, and the video 96x64"):
        check()


@pytest.mark.usefixtures("check")
def test_two_images_with_one_label_map_are_refused() -> None:
    for ending in ("jpg", "png"):
        save(Path(f"data/images/a.{ending}"), np.zeros((32, 48, 3), np.uint8))
    save(Path("data/labels/a.png"), np.zeros((32, 48), np.uint8))
    words = ["dataset=images", "dataset.root=data", "dataset.size=[32,48]", "dataset.classes=[road,car]"]
    with pytest.raises(ValueError, match=r"images/a\.jpg and images/a\.png have one label map, data/labels/a\.png"):
        check_parts(Parts(compose_config([*LABELLING, *words])))
