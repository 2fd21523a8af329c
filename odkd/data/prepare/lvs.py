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
import io
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from odkd.common.console import say
from odkd.common.dotted import command, setting
from odkd.common.files import json_digest
from odkd.common.ignore import IGNORE
from odkd.common.names import nearest
from odkd.common.progress import tracked
from odkd.common.reading import open_file
from odkd.data.labels.sets import label_set
from odkd.data.prepare.building import building, check_absent, write_map
from odkd.data.video.scan import scan_video

PREFIX = "detectron_large_mask_rcnn_1_"
GROUPS = ("person", "car,bus,truck", "motorcycle,bicycle")  # of LVS's streets
THINGS = 80  # classes of Detectron: 1 to 80 are COCO's things, in COCO's order
THRESHOLD = 0.5  # of scores and masks
FARTHEST = 2.0  # from the upper left corner of a frame, as a share of it; boxes may stand out a little
Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # boxes [N, 4], classes [N], scores [N], masks [N, m, m]


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
            write_map(path, drawn(found[frame], blank_HW.shape, groups) if frame in found else blank_HW)


def drawn(found: Found, size: tuple[int, ...], groups: Mapping[str, int]) -> np.ndarray:
    """Return the label map of a frame, uint8 [H, W]: 0 where there is no object of a group.

    Raises:
        ValueError: the parts of `found` do not fit each other.
    """
    import torch
    import torch.nn.functional as F

    boxes_N4, classes_N, scores_N, masks_Nmm = (np.asarray(part) for part in found)
    if not len(boxes_N4) == len(classes_N) == len(scores_N) == len(masks_Nmm):
        raise ValueError("boxes, classes, scores and masks of a frame differ in number; download the file again")
    if len(boxes_N4) and not (np.abs(np.asarray(boxes_N4, np.float64)) <= FARTHEST).all():
        raise ValueError("a box does not lie in its frame; expected top, left, bottom, right, 0..1 of the frame")
    label_HW = np.zeros(size, np.uint8)
    height, width = size
    for box, kind, score, mask_mm in zip(boxes_N4, classes_N, scores_N, masks_Nmm, strict=True):
        group = groups.get(str(int(kind)), 0)
        top, left, bottom, right = (box * np.array([height, width, height, width])).astype(np.int64).tolist()
        if not group or score < THRESHOLD or bottom <= top or right <= left:
            continue
        small = torch.from_numpy(np.ascontiguousarray(mask_mm, np.float32))[None, None]
        full = F.interpolate(small, (bottom - top, right - left), mode="bilinear", align_corners=False)[0, 0].numpy()
        rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        inside = full[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        part_HW = label_HW[rows, columns]
        part_HW[(inside >= THRESHOLD) & (part_HW < group)] = group
    return label_HW


def read_found(path: Path) -> dict[int, Found]:
    """Return what Mask R-CNN found in each frame.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    try:
        with open_file(path) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            read(file)
            content: Any = _plain(_Arrays(io.BytesIO(file.read()), encoding="latin1").load(), {})
        frames: Any = content[()] if isinstance(content, np.ndarray) else content
        return {int(frame): tuple(parts) for frame, parts in frames.items() if len(parts) == 4}
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} does not hold predictions of LVS ({type(error).__name__}: {reason}); download it again"
        ) from error


class _Type:
    """The type of an array: name and byte order. Flags, which would let bytes be taken for objects, are not read."""

    def __init__(self, name: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf]\d+|O\d*", str(name)):
            raise pickle.UnpicklingError(f"it holds an array of {name!r:.40}")
        self.dtype = np.dtype(str(name)[:1] if str(name).startswith("O") else str(name))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array while it is read: `content` is None until its state has come."""

    def __init__(self, *_: object) -> None:
        self.content: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, content = state
        if isinstance(content, list):
            flat = np.empty(len(content), object)
            for place, item in enumerate(content):
                flat[place] = item
        else:
            flat = np.frombuffer(content.encode("latin1") if isinstance(content, str) else content, kind.dtype)
        self.content = flat.copy().reshape(shape, order="F" if is_fortran else "C")


def _plain(value: Any, known: dict[int, Any]) -> Any:
    """Return a value with the arrays that were read in place of `_Array`, at any depth.

    Args:
        known: what was returned for a value with this `id`: one that is in many places is read once.
    """
    if id(value) in known:
        return known[id(value)]
    content = value.content if isinstance(value, _Array) else value
    if isinstance(content, np.ndarray) and content.dtype == object:
        plain: Any = np.empty(content.shape, object)
        for place, item in np.ndenumerate(content):
            plain[place] = _plain(item, known)
    elif isinstance(content, dict):
        plain = {key: _plain(item, known) for key, item in content.items()}
    elif isinstance(content, list | tuple):
        plain = type(content)(_plain(item, known) for item in content)
    else:
        plain = content
    known[id(value)] = plain
    return plain


class _Arrays(pickle.Unpickler):
    """An unpickler of arrays and numbers of NumPy, of any release, and of nothing else.

    NumPy's own functions are not called: crafted states make them take bytes for objects, which ends in a crash.
    """

    def find_class(self, module: str, name: str) -> Any:
        known: dict[str, Any] = {"ndarray": _Array, "dtype": _Type, "_reconstruct": _Array}
        known["scalar"] = lambda kind, raw: np.frombuffer(raw, kind.dtype)[0]
        known["_frombuffer"] = lambda raw, kind, shape, order: np.frombuffer(raw, kind.dtype).reshape(
            shape, order=order
        )
        if module.partition(".")[0] == "numpy" and name in known:
            return known[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode(encoding)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which would run code")
