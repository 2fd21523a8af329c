"""Make a person/vehicle stream of fixed cameras from CDnet 2014 (http://changedetection.net, Wang et al., CVPRW 2014).

SOURCE is a folder with unpacked or zipped sequences, such as dataset2014.zip, baseline.zip or highway.zip of the page
"Dataset 2014". A sequence is a folder with input/in000001.jpg and groundtruth/gt000001.png. People have marked what
moves, pixel by pixel, not what it is; so sequences are used in which all that moves is of one kind (--sequence
NAME=CLASS). Each becomes one video: nominally 25 frames per second, H.264, CRF 12, at its own size.

The ids of groundtruth/VIDEO/000000.png: 0 background (static, or a shadow: 0 and 50 in CDnet), 1 person, 2 vehicle
(255 in CDnet), 255 = not labelled (85: outside the region of interest, and all frames that people did not label; 170:
unknown).
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from odkd.common.console import say
from odkd.common.dotted import command, setting
from odkd.common.files import json_digest
from odkd.common.ignore import IGNORE
from odkd.common.names import nearest
from odkd.common.progress import tracked
from odkd.data.prepare.building import building, check_absent, write_map
from odkd.data.prepare.pictures import Picture, find_pictures
from odkd.data.video.encode import VideoWriter

CLASSES = ("background", "person", "vehicle")
DEFAULT = {"highway": "vehicle", "pedestrians": "person"}  # in stream order
MEANING = {0: 0, 50: 0, 85: IGNORE, 170: IGNORE}  # CDnet's value -> id; 255 is the class that moves
MOVING = 255
FRAME_RATE, CRF = 25.0, 12
Frames = list[tuple[Picture, Picture]]  # image and ground truth, in order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder, or zip archive, of sequences")
    parser.add_argument("target", type=Path, metavar="TARGET", help="dataset folder to create")
    parser.add_argument(
        "--sequence",
        action="append",
        metavar="NAME=CLASS",
        help="a sequence and the class of what moves in it, person or vehicle; repeat it, in stream order "
        f"({' '.join(f'{name}={kind}' for name, kind in DEFAULT.items())})",
    )


def run(arguments: argparse.Namespace) -> None:
    """Find the sequences, write one after the other to a temporary folder, rename it."""
    target: Path = arguments.target
    check_absent(target)
    wanted = kinds(arguments.sequence) if arguments.sequence else DEFAULT
    known = sequences(find_pictures(arguments.source))
    if missing := [name for name in wanted if name not in known]:
        has = f"; it has {', '.join(sorted(known))}" if known else ""
        raise ValueError(
            f"{arguments.source} has no sequence {missing[0]}{nearest(missing[0], known)}: no folder {missing[0]} with "
            f"input/in000001.jpg and groundtruth/gt000001.png{has}; choose others with --sequence NAME=CLASS"
        )
    videos = {f"{number:02d}_{name}": name for number, name in enumerate(wanted, 1)}
    files = {name: [f"{image} {truth}" for image, truth in known[name]] for name in wanted}
    with building(target, {"files": json_digest(files), "kinds": dict(wanted)}) as place:
        for video, name in videos.items():
            if not (place / "videos" / f"{video}.mp4").is_file():
                write_sequence(place, video, known[name], CLASSES.index(wanted[name]))
            say(f"{video}: {len(known[name])} frames, {wanted[name]}", flush=True)
    words = ["experiment=cdnet_online", setting("dataset.root", str(target))]
    say(f"created {target}; use it with\n\n{command(*words)}")


def kinds(given: list[str]) -> dict[str, str]:
    """Return the class of each sequence.

    >>> kinds(["highway=vehicle"])
    {'highway': 'vehicle'}

    Raises:
        ValueError: something else than NAME=CLASS.
    """
    found = {}
    for text in given:
        name, _, kind = text.partition("=")
        if not name or kind not in CLASSES[1:]:
            raise ValueError(f"--sequence {text}; expected NAME=CLASS with the class {' or '.join(CLASSES[1:])}")
        found[name] = kind
    return found


def sequences(pictures: list[Picture]) -> Mapping[str, Frames]:
    """Return the frames of each sequence that have both an image and a ground truth, by the name of its folder."""
    images: dict[tuple[str, str], Picture] = {}
    truths: dict[tuple[str, str], Picture] = {}
    for picture in pictures:
        folder = picture.path.parent
        if match := re.fullmatch(r"(in|gt)(\d+)", picture.path.stem):
            key = (folder.parent.name, match[2])
            if (folder.name, match[1]) == ("input", "in"):
                images[key] = picture
            elif (folder.name, match[1]) == ("groundtruth", "gt"):
                truths[key] = picture
    found: dict[str, Frames] = {}
    for key in sorted(images.keys() & truths.keys()):
        found.setdefault(key[0], []).append((images[key], truths[key]))
    return found


def write_sequence(place: Path, video: str, frames: Frames, moving: int) -> None:
    """Write the label maps, then the video: a sequence is complete if its video has its final name.

    Raises:
        ValueError: a picture is damaged, has other values or another size than the first.
    """
    size = frames[0][0].load().size
    path = place / "videos" / f"{video}.mp4"
    with VideoWriter(path, width=size[0], height=size[1], frame_rate=FRAME_RATE, crf=CRF) as writer:
        for number, (image, truth) in enumerate(tracked(frames, f"wrote {video}", "frames")):
            labels_HW = ids(truth, moving)
            picture = image.load("RGB")
            if not picture.size == size == labels_HW.shape[::-1]:
                raise ValueError(f"{image} or {truth} has another size than {size[0]}x{size[1]}; download it again")
            write_map(place / "groundtruth" / video / f"{number:06d}.png", labels_HW)
            writer.write(np.asarray(picture))


def ids(truth: Picture, moving: int) -> np.ndarray:
    """Return odkd's ids of a ground truth of CDnet: uint8 [H, W].

    Raises:
        ValueError: other values than CDnet's.
    """
    values_HW = np.asarray(truth.load("L"), np.uint8)
    if odd := sorted(set(np.unique(values_HW).tolist()) - {*MEANING, MOVING}):
        raise ValueError(f"{truth} has the value {odd[0]}; expected {', '.join(map(str, MEANING))} and {MOVING}")
    table = np.full(256, IGNORE, np.uint8)
    table[list(MEANING)] = list(MEANING.values())
    table[MOVING] = moving
    return table[values_HW]
