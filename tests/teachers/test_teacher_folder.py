"""Teachers from folders of label maps: labels equal the files, and a message names a file that is wrong."""

import hashlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from odkd.teachers import SampledFrames
from odkd.teachers.folder import FolderTeacher


def ask(teacher: FolderTeacher, samples: list[int], *, stride: int = 5, video: str = "drive") -> np.ndarray:
    numbers = [stride * sample for sample in samples]
    return teacher.label(SampledFrames("digest", numbers, None, None, video, samples))


def write(path: Path, values_HW: np.ndarray, **others: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, seg=values_HW, **others)
    else:
        Image.fromarray(values_HW).save(path)


@pytest.fixture(name="maps_NHW")
def maps() -> np.ndarray:
    return np.random.default_rng(0).choice([0, 1, 2, 255], (4, 6, 8)).astype(np.uint8)


@pytest.mark.parametrize("ending", [".png", ".npz"])
@pytest.mark.parametrize("numbering", ["frame", "sample"])
def test_labels_are_the_files_of_the_frames(tmp_path: Path, maps_NHW: np.ndarray, ending: str, numbering: Any) -> None:
    for sample, map_HW in enumerate(maps_NHW):
        number = sample * (5 if numbering == "frame" else 1)
        write(tmp_path / "drive" / f"{number:06d}{ending}", map_HW)
    teacher = FolderTeacher(str(tmp_path), numbering=numbering)
    labels_BHW = ask(teacher, [2, 0, 3])
    assert labels_BHW.dtype == np.uint8
    np.testing.assert_array_equal(labels_BHW, maps_NHW[[2, 0, 3]])


def test_the_reference_codes_layout_is_the_default(tmp_path: Path, maps_NHW: np.ndarray) -> None:
    for number in (0, 75, 150):  # it names a map by the frame's number in the video
        np.savez_compressed(tmp_path / f"{number:06d}", seg=maps_NHW[number // 75])
    (tmp_path / "drive").mkdir()
    for path in tmp_path.glob("*.npz"):
        path.rename(tmp_path / "drive" / path.name)
    np.testing.assert_array_equal(ask(FolderTeacher(str(tmp_path)), [0, 1, 2], stride=75), maps_NHW[:3])


def test_labels_of_palette_images_are_their_indices(tmp_path: Path, maps_NHW: np.ndarray) -> None:
    image = Image.fromarray(maps_NHW[0])
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    assert image.mode == "P"
    (tmp_path / "drive").mkdir()
    image.save(tmp_path / "drive" / "000000.png")
    np.testing.assert_array_equal(ask(FolderTeacher(str(tmp_path)), [0])[0], maps_NHW[0])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int64", "float32", "uint16"])
def test_arrays_may_have_any_integer_type_and_any_value_for_ignored_pixels(tmp_path: Path, dtype: str) -> None:
    ignore = 200 if dtype == "uint16" else -1
    values_HW = np.array([[0, 1], [2, ignore]]).astype(dtype)
    write(tmp_path / "drive" / "000000.npz", values_HW)
    teacher = FolderTeacher(str(tmp_path), ignore=ignore)
    if dtype == "float32":
        with pytest.raises(ValueError, match=r"seg is float32 \[2, 2\]; expected one integer per pixel"):
            ask(teacher, [0])
        return
    assert ask(teacher, [0]).tolist() == [[[0, 1], [2, 255]]]


def test_a_map_may_be_ignored_completely_and_zero_may_be_the_ignored_value(tmp_path: Path) -> None:
    write(tmp_path / "drive" / "000000.png", np.zeros((2, 2), np.uint8))
    assert (ask(FolderTeacher(str(tmp_path), ignore=0), [0]) == 255).all()


def test_maps_say_nothing_about_their_classes_and_a_stated_number_of_them_is_held(tmp_path: Path) -> None:
    write(tmp_path / "drive" / "000000.png", np.array([[18, 255]], np.uint8))
    for settings in ({}, {"num_classes": 19}):
        teacher = FolderTeacher(str(tmp_path), **settings)
        assert (teacher.num_classes, teacher.classes) == (None, None)
        assert ask(teacher, [0]).tolist() == [[[18, 255]]]
    with pytest.raises(ValueError, match=r"000000\.png has ids 18 to 18; expected 0 to 2, or 255.*num_classes"):
        ask(FolderTeacher(str(tmp_path), num_classes=3), [0])


def test_a_bad_map_is_named(tmp_path: Path) -> None:
    video = tmp_path / "drive"
    write(video / "000000.png", np.zeros((2, 3), np.uint8))
    write(video / "000005.png", np.zeros((3, 2), np.uint8))
    write(video / "000010.png", np.zeros((2, 3, 3), np.uint8))
    (video / "000015.png").write_bytes((video / "000000.png").read_bytes()[:45])
    (video / "000020.npz").write_bytes(b"PK\x03\x04 cut off")
    write(video / "000025.npz", np.array([[0, -1]]))
    np.savez(video / "000030.npz", labels=np.zeros((2, 3), np.uint8))
    np.savez(video / "000035.npz", seg=np.array([{"not": "numbers"}], dtype=object))
    (video / "000040.npz").write_bytes(pickle.dumps(np.zeros((2, 3), np.uint8)))
    with (video / "000045.npz").open("wb") as file:
        np.save(file, np.zeros((2, 3), np.uint8))
    write(video / "000050.npz", np.zeros((1, 2, 3), np.uint8))
    write(video / "000055.png", np.zeros((2, 3), np.uint8))
    write(video / "000055.npz", np.zeros((2, 3), np.uint8))
    messages = {
        1: r"000005\.png is 3 x 2 pixels and 000000\.png is 2 x 3",
        2: r"000010\.png is no label map: it is a RGB image",
        3: r"000015\.png is no label map",
        4: r"000020\.npz is no label map",
        5: r"000025\.npz has ids -1 to 0; expected 0 to 2, or 255.*teacher\.ignore",
        6: r"000030\.npz is no label map: it holds labels, and teacher\.key is seg",
        7: r"000035\.npz is no label map: it holds Python objects",
        8: r"000040\.npz is no label map: it is no \.npz file",
        9: r"000045\.npz is no label map: it is no \.npz file",
        10: r"000050\.npz is no label map: seg is uint8 \[1, 2, 3\]",
        11: r"000055\.png and 000055\.npz both exist",
        12: r"no label map .*000060\.png or \.npz \(.* has 13 files, 000000\.png to 000055\.png.*numbering=frame",
    }
    teacher = FolderTeacher(str(tmp_path), num_classes=3)
    assert ask(teacher, [0]).shape == (1, 2, 3)
    for sample, message in messages.items():
        with pytest.raises(ValueError, match=message):
            ask(teacher, [sample])
    with pytest.raises(ValueError, match=r"there is no folder .*other.* has drive"):
        ask(teacher, [0], video="other")


def test_a_map_that_unpacks_to_gigabytes_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "drive" / "000000.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive, archive.open("seg.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|u1", "fortran_order": False, "shape": (60_000, 50_000)}
        )
    with pytest.raises(ValueError, match=r"no label map: seg is uint8 \[60000, 50000\]; expected at most"):
        ask(FolderTeacher(str(tmp_path), num_classes=3), [0])


def test_maps_are_held_to_the_first_of_their_video_wherever_an_earlier_process_stopped(tmp_path: Path) -> None:
    write(tmp_path / "drive" / "000000.png", np.zeros((2, 3), np.uint8))
    write(tmp_path / "drive" / "000005.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r"000005\.png is 4 x 6 pixels and 000000\.png is 2 x 3"):
        ask(FolderTeacher(str(tmp_path)), [1])


def test_a_map_with_a_changed_bit_is_refused(tmp_path: Path, maps_NHW: np.ndarray) -> None:
    path = tmp_path / "drive" / "000000.png"
    write(path, maps_NHW[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"000000\.png is no label map"):
        ask(FolderTeacher(str(tmp_path)), [0])


def test_a_folder_without_maps_of_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "000000.png").touch()  # the folder of one video, not of videos
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"has no label maps.*VIDEO/000000\.png"):
            FolderTeacher(str(folder))


def test_the_identity_is_of_names_and_contents_in_any_place(tmp_path: Path, maps_NHW: np.ndarray) -> None:
    def identity(folder: Path, **settings: Any) -> dict[str, Any]:
        settings = {"_target_": "x", "folder": str(folder), "numbering": "frame", **settings}
        return FolderTeacher.identity(settings, lambda path: hashlib.sha256(path.read_bytes()).hexdigest())

    first, second = tmp_path / "first", tmp_path / "second"
    for sample, map_HW in enumerate(maps_NHW):
        write(first / "drive" / f"{sample:06d}.npz", map_HW)
    shutil.copytree(first, second)
    (second / "drive" / "notes.txt").write_text("no map")
    before = identity(first)
    assert identity(second) == before
    assert "folder" not in before
    json.dumps(before)
    assert identity(first, numbering="sample") != before
    (second / "drive").rename(second / "ride")
    assert identity(second) != before
    write(first / "drive" / "000002.npz", maps_NHW[2] ^ 1)
    assert identity(first) != before
    with pytest.raises(ValueError, match="no label maps"):
        identity(tmp_path / "none")


@pytest.mark.parametrize("numbering", ["frame", "sample"])
def test_the_labels_of_a_run_are_those_of_the_folder(odkd: Callable[..., Path], tmp_path: Path, numbering: str) -> None:
    data, folder = f"dataset.prepare.folder={tmp_path / 'data'}", tmp_path / "maps"
    odkd("stage=label", data)
    (truth,) = (tmp_path / "data").glob("*/groundtruth")
    for video in truth.iterdir():
        for sample, path in enumerate(sorted(video.iterdir())[::2]):
            (folder / video.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / video.name / (path.name if numbering == "frame" else f"{sample:06d}.png"))
    settings = [f"teacher.folder={folder}", f"teacher.numbering={numbering}", "dataset.stride=2"]
    run = odkd("stage=label", data, "teacher=folder", *settings)
    assert json.loads((run / "summary.json").read_text())["teacher/miou_groundtruth"] == 1
