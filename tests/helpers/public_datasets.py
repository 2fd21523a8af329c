"""Small stand-ins with the layout of public data sets: what `odkd-prepare camvid` and `odkd-prepare cdnet` read."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CAMVID = {  # name of a frame -> its split in the SegNet tutorial
    "0006R0_f00930": "train",
    "0006R0_f00960": "train",
    "0001TP_008520": "train",
    "0001TP_008550": "test",
    "0016E5_07950": "train",
    "0016E5_07961": "val",
    "0016E5_08190": "train",
    "Seq05VD_f00000": "test",
}
CLIPS = {"01_0006R0": ("0006R0", 2), "02_0001TP": ("0001TP", 2), "03_0016E5": ("0016E5", 3)}
SKY, CHILD, VOID, UNKNOWN = (128, 128, 128), (192, 128, 64), (0, 0, 0), (1, 2, 3)  # colours of the original labels


def brightness(name: str) -> int:
    """Return the grey value of a frame, by which it is recognised."""
    return 20 + 25 * list(CAMVID).index(name)


def make_camvid_of_segnet(folder: Path) -> Path:
    """Make the form of the SegNet tutorial: below, sky (0), pedestrian (9) and void (11) from left to right."""
    labels_HW = np.repeat(np.array([[0, 9, 11]], np.uint8), 160, axis=1).repeat(360, axis=0)
    for name, split in CAMVID.items():
        save(np.full((360, 480, 3), brightness(name), np.uint8), folder / "CamVid" / split / f"{name}.png")
        save(labels_HW, folder / "CamVid" / f"{split}annot" / f"{name}.png")
    return folder


def make_camvid_of_cambridge(folder: Path, *, zipped: bool) -> Path:
    """Make the original form, 960x720: Sky, Child, Void from left to right, and one pixel of no class."""
    colours_HWC = np.repeat(np.array([[SKY, CHILD, VOID]], np.uint8), 320, axis=1).repeat(720, axis=0)
    colours_HWC[1, 1] = UNKNOWN
    for name in CAMVID:
        save(np.full((720, 960, 3), brightness(name), np.uint8), folder / "701_StillsRaw_full" / f"{name}.png")
        save(colours_HWC, folder / "LabeledApproved_full" / f"{name}_L.png")
    if zipped:  # as on the web page: the labels' archive has no folder
        shutil.make_archive(str(folder / "701_StillsRaw_full"), "zip", folder, "701_StillsRaw_full")
        shutil.make_archive(str(folder / "LabeledApproved_full"), "zip", folder / "LabeledApproved_full")
        for name in ("701_StillsRaw_full", "LabeledApproved_full"):
            shutil.rmtree(folder / name)
    return folder


def make_cdnet(folder: Path) -> Path:
    """Make two sequences of CDnet 2014 of different sizes; frame 1 is not labelled, something moves in 2 and 3."""
    for sequence, (height, width) in {"highway": (24, 32), "pedestrians": (24, 36)}.items():
        place = folder / "dataset" / "baseline" / sequence
        for number in (1, 2, 3):
            values_HW = np.full((height, width), 85 if number == 1 else 0, np.uint8)
            if number > 1:
                values_HW[4:8, :6], values_HW[8:12, :6], values_HW[12:16, :6], values_HW[16:, :6] = 255, 50, 170, 85
            save(values_HW, place / "groundtruth" / f"gt{number:06d}.png")
            save(np.full((height, width, 3), 50 * number, np.uint8), place / "input" / f"in{number:06d}.jpg")
        (place / "temporalROI.txt").write_text("2 3")
        save(np.full((height, width), 255, np.uint8), place / "ROI.bmp")
    return folder


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a picture and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
