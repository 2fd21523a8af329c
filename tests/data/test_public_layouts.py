"""Layouts of public data sets, as small imitations: the settings that docs/public_data.md shows read each of them."""

import re
from pathlib import Path

import numpy as np
import pytest
from image_folders import colours, parts_of, save, truth

from odkd.config.words import read_settings

PAGE = Path(__file__).parents[2] / "docs" / "public_data.md"
SIZE = (32, 48)
LABEL = np.zeros(SIZE, np.uint8)  # as it must be read: 0 left, 1 in the middle, ignored on the right
LABEL[:, 16:32], LABEL[:, 32:] = 1, 255


def settings_of(name: str) -> tuple[str, list[str]]:
    """Return dataset and settings of the command on the page below the heading of a data set."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {name}\n")[1].split("\n## ")[0]
    command = re.search(r"```\nodkd (.*?)\n```", section, re.DOTALL)
    assert command is not None
    words = re.findall(r"'([^']*)'|(\S+)", command[1].replace("\\\n", " "))
    found = [quoted or plain for quoted, plain in words]
    dataset = next(word.removeprefix("dataset=") for word in found if word.startswith("dataset="))
    left_out = ("dataset=", "dataset.root=", "dataset.size=", "stage=", "teacher", "...", "dataset.classes=")
    return dataset, [word for word in found if not word.startswith(left_out)]


def drawn(*values: int | tuple[int, int, int]) -> np.ndarray:
    """Return a map with a value or colour for class 0, class 1, and what is ignored."""
    table = np.array(values, np.uint8)
    return table[np.where(LABEL == 255, 2, LABEL)]


LAYOUTS = {  # name -> images, their maps (None: not labelled), what the maps hold, their order in the stream
    "Cityscapes video": (
        [
            (f"leftImg8bit_sequence/val/ulm/ulm_000000_{n:06d}_leftImg8bit.png", maps)
            for n, maps in (
                (18, None),
                (19, "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png"),
                (20, None),
            )
        ],
        drawn(7, 8, 0),
    ),
    "BDD100K": ([("images/10k/val/7d1a-0.jpg", "labels/sem_seg/masks/val/7d1a-0.png")], drawn(0, 1, 255)),
    "CamVid": (
        [("701_StillsRaw_full/0001TP_008520.png", "LabeledApproved_full/0001TP_008520_L.png")],
        drawn((128, 128, 128), (128, 0, 0), (0, 0, 0)),
    ),
    "VSPW": (
        [(f"data/{v}/origin/{n:08d}.jpg", f"data/{v}/mask/{n:08d}.png") for v in ("12_a", "5_b") for n in (1, 16)],
        drawn(1, 2, 255),
    ),
    "Mapillary Vistas": ([("validation/images/-a_B.jpg", "validation/v1.2/labels/-a_B.png")], drawn(13, 15, 65)),
    "KITTI-STEP": (
        [(f"training/image_02/0002/{n:06d}.png", f"panoptic_maps/val/0002/{n:06d}.png") for n in (0, 1)],
        drawn((0, 1, 200), (1, 0, 3), (255, 0, 0)),
    ),
    "DAVIS": (
        [(f"JPEGImages/480p/bear/{n:05d}.jpg", f"Annotations/480p/bear/{n:05d}.png") for n in (0, 1)],
        drawn(0, 255, 0),
    ),
    "YouTube-VOS": (
        [
            (f"train/JPEGImages/00a2/{n:05d}.jpg", f"train/Annotations/00a2/{n:05d}.png" if n % 10 == 0 else None)
            for n in (0, 5, 10)
        ],
        drawn(0, 3, 0),
    ),
    "A2D2": (
        [
            (
                f"2018_{d}/camera/cam_front_center/2018{d}_camera_frontcenter_000000091.png",
                f"2018_{d}/label/cam_front_center/2018{d}_label_frontcenter_000000091.png",
            )
            for d in ("0807", "0810")
        ],
        drawn((255, 0, 255), (255, 0, 0), (1, 2, 3)),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_command_of_the_page_reads_the_layout(name: str, tmp_path: Path) -> None:
    files, content = LAYOUTS[name]
    for number, (image, label) in enumerate(files):
        save(tmp_path / "data" / image, colours(*SIZE, number))
        if label is not None:
            save(tmp_path / "data" / label, content)
    dataset, settings = settings_of(name)
    classes = {"DAVIS": "[background,object]", "YouTube-VOS": "[background,object]", "A2D2": "[road,car]"}.get(name)
    more = [*settings, "dataset.size=[32,48]", *([f"dataset.classes={classes}"] if classes else [])]
    words = read_settings(more, {}, lambda: [word.partition("=")[0].lstrip("+") for word in more])
    if name in ("CamVid", "VSPW", "KITTI-STEP", "Mapillary Vistas"):
        words += {
            "CamVid": ["dataset.classes=camvid"],
            "VSPW": [f"dataset.classes=[{','.join(f'c{i}' for i in range(124))}]"],
        }.get(name, ["dataset.classes=cityscapes"])
    parts = parts_of(dataset, tmp_path / "data", tmp_path, *words)
    assert len(parts.stream) == len(files)
    found = {parts.stream.name_of(position): position for position in range(len(files))}
    assert set(found) == {image for image, _ in files}
    expected = LABEL.copy()
    if name in ("DAVIS", "YouTube-VOS"):
        expected[LABEL == 255] = 0  # the background is a class
    for image, label in files:
        read = truth(parts, found[image])
        assert (read == (255 if label is None else expected)).all(), np.unique(read)
