"""Make a dataset folder of a sequence of LVS, Long Video Segmentation (JITNet, Mullapudi et al., ICCV 2019).

SEQUENCE is the folder of a sequence as it unpacks: driving1 with driving1000.mp4 and
detectron_large_mask_rcnn_1_driving1000.npy, and so on for each part. An .npy file holds what Mask R-CNN found in each
frame: {frame: (boxes, classes, scores, masks)}, with boxes as top, left, bottom, right in 0..1. These predictions are
the labels of LVS; people have not labelled it. The videos are linked, and maps/VIDEO/000000.png made for
teacher=folder: 0 background, 1 the first --group, 2 the second, ..., 255 in frames of which the file says nothing.

As in JITNet's code, an object counts from a score of 0.5 on and a pixel from a mask of 0.5 on, and of several groups in
a pixel the last counts. Nothing pickled in an .npy file is run.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from odkd.common.console import say
from odkd.common.dotted import command, setting
from odkd.common.files import json_digest
from odkd.common.ignore import IGNORE
from odkd.common.names import nearest
from odkd.common.pictures import MOST_PIXELS
from odkd.common.progress import tracked
from odkd.data.labels.sets import label_set
from odkd.data.prepare.building import building, check_absent, write_map
from odkd.data.prepare.lvs_file import Found, read_found
from odkd.data.video.scan import scan_video

PREFIX = "detectron_large_mask_rcnn_1_"
GROUPS = ("person", "car,bus,truck", "motorcycle,bicycle")  # of LVS's streets
THINGS = 80  # classes of Detectron: 1 to 80 are COCO's things, in COCO's order
THRESHOLD = 0.5  # of scores and masks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("source", type=Path, metavar="SEQUENCE", help="folder of a sequence of LVS")
    parser.add_argument("target", type=Path, metavar="TARGET", help="dataset folder to create")
    parser.add_argument(
        "--group",
        action="append",
        metavar="CLASS[,CLASS]",
        help=f"classes of COCO that become one class, named by the first; repeat it ({' '.join(GROUPS)})",
    )


def run(arguments: argparse.Namespace) -> None:
    """Check the files, write the maps, link the videos, print the odkd command."""
    source, target = arguments.source, arguments.target
    check_absent(target)
    groups = class_groups(arguments.group or GROUPS)
    videos = sorted(source.glob("*.mp4")) if source.is_dir() else []
    if not videos:
        raise ValueError(f"{source} has no videos; expected the folder of a sequence, such as driving1/driving1000.mp4")
    files = {video: source / f"{PREFIX}{video.stem}.npy" for video in videos}
    if missing := [file for file in files.values() if not file.is_file()]:
        raise ValueError(f"{missing[0]} is missing; download it, or move its video away")
    facts = {"files": json_digest([str(video.resolve()) for video in videos]), "groups": groups}
    with building(target, facts) as place:
        (place / "videos").mkdir(exist_ok=True)
        for video, file in files.items():
            write_maps(place / "maps" / video.stem, video, read_found(file), groups)
            link = place / "videos" / video.name
            link.unlink(missing_ok=True)
            link.symlink_to(video.resolve())
            say(f"{video.stem}: {len(list((place / 'maps' / video.stem).iterdir()))} frames", flush=True)
    names = dict.fromkeys(group.split(",")[0].strip().replace(" ", "_") for group in arguments.group or GROUPS)
    classes = ["background", *names]
    maps = ["teacher=folder", setting("teacher.folder", str(target / "maps"))]
    words = ["dataset=videos", setting("dataset.root", str(target)), setting("dataset.classes", classes), *maps]
    say(f"created {target}; use it with\n\n{command(*words)}")


def class_groups(groups: Sequence[str]) -> dict[str, int]:
    """Return {Detectron's class id, as text: id of the group}.

    >>> class_groups(["person", "car,bus"])
    {'1': 1, '3': 2, '6': 2}

    Raises:
        ValueError: a class that COCO's things do not have, or one in two groups.
    """
    things = list(label_set("coco_panoptic").classes[:THINGS])
    found: dict[str, int] = {}
    for number, group in enumerate(groups, 1):
        for name in (part.strip() for part in group.split(",")):
            if name not in things:
                raise ValueError(f"--group {group}: no thing of COCO is called {name}{nearest(name, things)}")
            if found.setdefault(str(things.index(name) + 1), number) != number:
                raise ValueError(f"--group {group}: {name} is in two groups; keep one")
    return found


def write_maps(folder: Path, video: Path, found: Mapping[int, Found], groups: Mapping[str, int]) -> None:
    """Write the label map of each frame of a video that has none yet."""
    scanned = scan_video(video)
    blank_HW = np.full((scanned["height"], scanned["width"]), IGNORE, np.uint8)
    for frame in tracked(range(len(scanned["pts"])), f"wrote {video.stem}", "label maps"):
        path = folder / f"{frame:06d}.png"
        if not path.is_file():
            try:
                label_HW = drawn(found[frame], blank_HW.shape, groups) if frame in found else blank_HW
            except ValueError as error:
                raise ValueError(f"frame {frame} of {video}: {error}") from error
            write_map(path, label_HW)


def drawn(found: Found, size: tuple[int, ...], groups: Mapping[str, int]) -> np.ndarray:
    """Return the label map of a frame, uint8 [H, W]: 0 where there is no object of a group.

    Raises:
        ValueError: a box is too large.
    """
    import torch
    import torch.nn.functional as F

    label_HW = np.zeros(size, np.uint8)
    height, width = size
    for box, kind, score, mask_mm in zip(*found, strict=True):
        group = groups.get(str(int(kind)), 0)
        top, left, bottom, right = (box * np.array([height, width, height, width])).astype(np.int64).tolist()
        if not group or score < THRESHOLD or bottom <= top or right <= left:
            continue
        if (bottom - top) * (right - left) > MOST_PIXELS:
            raise ValueError(f"a box has {right - left} x {bottom - top} pixels; expected at most {MOST_PIXELS} in all")
        small = torch.from_numpy(np.array(mask_mm, np.float32, order="C"))[None, None]
        full = F.interpolate(small, (bottom - top, right - left), mode="bilinear", align_corners=False)[0, 0].numpy()
        rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        inside = full[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        part_HW = label_HW[rows, columns]
        part_HW[(inside >= THRESHOLD) & (part_HW < group)] = group
    return label_HW
